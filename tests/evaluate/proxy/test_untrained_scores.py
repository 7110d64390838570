import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.proxy import untrained_scores as scoring
from nas_sv2.evaluate.proxy.untrained_scores import SCORES, Untrained, untrained_scores
from nas_sv2.evaluate.recipes.files import built_in_recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.search_space import Range, SearchSpace
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Function, Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import Run
from nas_sv2.space.units.architecture import Architecture

SHORT = Recipe("short", epochs=1)
SPACE = open_space(str(Path(__file__).parents[3] / "docs" / "lab" / "certificates" / "space.yaml"))
FEW = settings(max_examples=6, deadline=None)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Answers of hypothesis to what a space asks."""

    draw: st.DrawFn

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self.draw(st.sampled_from(range(low, high + 1, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(choices))


@st.composite
def of_the_space(draw: st.DrawFn, space: SearchSpace = SPACE) -> Architecture:
    return space.sample(Drawn(draw))


def untrained(graph: Graph, count: int = 8, seed: int = 3) -> Untrained:
    value = graph.input
    shape = (count, value.channels, value.height, value.width)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return Untrained(graph, images, torch.arange(count) % graph.output.channels, seed)


def as_trained(architecture: Architecture) -> Architecture:
    return dataclasses.replace(architecture, resolution=16, stem_pool=False)


def chain(*, side: int = 6, batch_norm: bool = True, relu: bool = True) -> Graph:
    """Two convolutions, a pool and a classifier."""
    build = GraphBuilder()
    image = value = Value("input", 2, side, side)
    for index, width in enumerate((6, 8)):
        function: Function | None = "relu" if relu else None
        name = f"conv.{index}"
        value = build.conv(name, value, width, 3, batch_norm=batch_norm, activation=function)
    value = build.linear("classifier", build.global_average_pool("pool", value), 3)
    return Graph(image, value, tuple(build.ops))


def test_all_of_them_repeat_and_leave_torch_as_it_was(
    blobs: ImageData, tiny: Architecture
) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first, again, other = (untrained_scores(tiny, blobs, SHORT, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.keys() == SCORES.keys()
    counts = {"params", "flops"}
    assert {name for name in first if first[name] == other[name]} == counts
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_counts_are_those_of_the_form_that_is_trained(
    blobs: ImageData, tiny: Architecture
) -> None:
    form = dataclasses.replace(
        tiny, resolution=16, channels=1, classes=2, stem_stride=1, stem_pool=False
    )
    scores = untrained_scores(tiny, blobs, dataclasses.replace(SHORT, stem_stride=1))
    cost = cost_of(lower(form))
    assert (scores["params"], scores["flops"]) == (cost.params, cost.flops)


@FEW
@given(architecture=of_the_space(), seed=st.integers(0, 5))
def test_finite_all_over_the_space(
    blobs: ImageData, architecture: Architecture, seed: int
) -> None:
    scores = untrained_scores(architecture, blobs, SHORT, seed)
    assert all(math.isfinite(score) for score in scores.values())
    assert scores["naswot"] > 0  # 0 says that two images gave one code


@FEW
@given(architecture=of_the_space())
def test_a_wider_network_has_more_flow(architecture: Architecture) -> None:
    stages = tuple(
        dataclasses.replace(stage, width=2 * stage.width) for stage in architecture.stages
    )
    wider = dataclasses.replace(architecture, stages=stages, head=2 * architecture.head)
    narrow, wide = (untrained(lower(as_trained(each))) for each in (architecture, wider))
    for score in (scoring.params, scoring.flops, scoring.synflow):
        assert score(wide) > score(narrow)


def test_synflow_of_a_chain_is_the_flow_times_its_kernels() -> None:
    build = GraphBuilder()
    image = Value("input", 2, 4, 4)
    value = build.conv("conv", image, 5, activation="relu")
    value = build.linear("classifier", build.global_average_pool("pool", value), 3)
    case = untrained(Graph(image, value, tuple(build.ops)))
    state = case.network().state_dict()
    kernel = state["conv.conv.weight"].abs().sum((1, 2, 3)).double()
    flow = float((state["classifier.weight"].abs().double() @ kernel).sum())
    assert scoring.synflow(case) == pytest.approx(math.log(2 * flow), abs=1e-4)


def test_synflow_of_a_deep_network_does_not_overflow() -> None:
    largest = SPACE.sample(_Highest())
    stages = tuple(dataclasses.replace(stage, depth=20) for stage in largest.stages)
    deep = as_trained(dataclasses.replace(largest, stages=stages))
    flow = scoring.synflow(untrained(lower(deep)))
    assert math.log(torch.finfo(torch.float32).max) < flow < math.inf


def test_naswot_counts_relus_that_agree() -> None:
    case = untrained(chain())
    codes: list[Tensor] = []
    module = case.network()

    def kept(name: str, run: Run) -> Run:
        def keep(value: Tensor) -> Tensor:
            result = run(value)
            assert isinstance(result, Tensor)
            codes.append(result.flatten(1) > 0)
            return result

        return keep if name.endswith(".relu") else run

    module.wrap_steps(kept)
    module(case.images)
    code = torch.cat(codes, dim=1)
    apart = (code[:, None] != code[None]).sum(2)  # the Hamming distance of the paper
    expected = torch.logdet((code.shape[1] - apart).double())
    assert scoring.naswot(case) == pytest.approx(float(expected))


def test_naswot_of_images_with_one_code_is_zero() -> None:
    case = untrained(chain())
    twins = dataclasses.replace(case, images=case.images[[0, 0, 1, 2]], labels=case.labels[:4])
    assert scoring.naswot(twins) == 0


def test_jacob_cov_of_a_linear_network_is_the_lowest() -> None:
    build = GraphBuilder()
    image = Value("input", 5, 1, 1)
    value = build.linear("classifier", image, 3)
    case = untrained(Graph(image, value, tuple(build.ops)), count=4)
    k = 1e-5  # all images have one gradient: the eigenvalues are 4, 0, 0, 0
    expected = -(math.log(4 + k) + 1 / (4 + k)) - 3 * (math.log(k) + 1 / k)
    assert scoring.jacob_cov(case) == pytest.approx(expected, rel=1e-6)
    assert scoring.jacob_cov(untrained(chain(), count=4)) > expected


def test_grad_norm_of_a_classifier_is_that_of_its_formula() -> None:
    build = GraphBuilder()
    image = Value("input", 5, 1, 1)
    value = build.linear("classifier", image, 3)
    case = untrained(Graph(image, value, tuple(build.ops)))
    inputs, module = case.images.flatten(1), case.network()
    wrong = module(case.images).softmax(1) - torch.eye(3)[case.labels]
    expected = (wrong.T @ inputs / len(inputs)).norm()
    assert scoring.grad_norm(case) == pytest.approx(float(expected.detach()))


def test_zen_undoes_the_scaling_of_batch_norms() -> None:
    # Without ReLUs what a norm divides by and what zen adds for it cancel, but for the sampling.
    normed, bare = (
        scoring.zen(untrained(chain(side=16, batch_norm=batch_norm, relu=False)))
        for batch_norm in (True, False)
    )
    assert normed == pytest.approx(bare, abs=0.15)


def test_zen_of_one_normal_convolution_is_the_norm_of_its_noise() -> None:
    channels, width, side = 32, 64, 8
    build = GraphBuilder()
    image = Value("input", channels, side, side)
    value = build.conv("conv", image, width, batch_norm=False)
    value = build.linear("classifier", build.global_average_pool("pool", value), 3)
    score = scoring.zen(untrained(Graph(image, value, tuple(build.ops))))
    expected = math.log(0.01 * math.sqrt(channels * width * side**2))  # E ‖W α ε‖
    assert score == pytest.approx(expected, abs=0.02)


def test_zen_does_not_see_residual_links(blobs: ImageData, tiny: Architecture) -> None:
    plain, residual = (
        dataclasses.replace(
            tiny,
            stages=tuple(
                dataclasses.replace(stage, depth=3, residual=residual) for stage in tiny.stages
            ),
        )
        for residual in (False, True)
    )
    without, with_links = (untrained_scores(each, blobs, SHORT) for each in (plain, residual))
    assert without["zen"] == with_links["zen"]
    for name in ("synflow", "naswot", "jacob_cov", "grad_norm"):
        assert without[name] != with_links[name]


def test_a_residual_branch_has_gradients(tiny: Architecture) -> None:
    stages = tuple(dataclasses.replace(stage, depth=2, residual=True) for stage in tiny.stages)
    case = untrained(lower(dataclasses.replace(tiny, stages=stages)))
    module = case.network()
    module(case.images).square().sum().backward()
    kernels = [
        (name, value) for name, value in module.named_parameters() if name.endswith("conv.weight")
    ]
    assert any(".1.main." in name for name, _ in kernels)
    assert all(value.grad is not None and bool(value.grad.any()) for _, value in kernels)


def test_twins_in_the_data_are_left_out(blobs: ImageData, tiny: Architecture) -> None:
    images = blobs.train.images[torch.arange(len(blobs.train)) % 10]
    data = dataclasses.replace(blobs, train=Part(images, blobs.train.labels))
    batch, labels = scoring._batch(data, SHORT, 0)
    assert len(batch) == len(labels) == 10
    assert untrained_scores(tiny, data, SHORT)["naswot"] > 0


def test_only_what_the_recipe_trains_on_is_looked_at(blobs: ImageData) -> None:
    few = dataclasses.replace(SHORT, train_images=5)
    assert len(scoring._batch(blobs, few, 0)[0]) == 5
    assert len(scoring._batch(blobs, SHORT, 0)[0]) == scoring.IMAGES


def test_what_cannot_be_trained_is_refused(blobs: ImageData, tiny: Architecture) -> None:
    with pytest.raises(ConfigError, match="full training"):
        untrained_scores(tiny, blobs, built_in_recipe("paper"))
    with pytest.raises(ConfigError, match="total stride"):
        untrained_scores(tiny, blobs, dataclasses.replace(SHORT, stem_pool=True))


def test_a_score_that_is_no_number_is_named(
    blobs: ImageData, tiny: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "ZEN_STEP", 0.0)  # nothing moves
    with pytest.raises(EvaluationError, match="the untrained network's zen is -inf"):
        untrained_scores(tiny, blobs, SHORT)


class _Highest:
    """The last answer to everything."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return Range(low, high, step).high

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[-1]
