"""CondenseNet, NASNet-A and PNASNet-5: their published counts, and one result however run."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from lowered import assert_close, lived_in_weights, run_onnx, run_torch

from nas_sv2.space.families.published import STRUCTURES, PaperNetwork
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import AveragePool, Conv, Graph, MaxPool, Select, Shift
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.runtimes.weights import Array

PUBLISHED = {  # parameters as the authors' and others' models have them; multiply-adds
    "condensenet_74_g4": (4_773_944, 516_640_576),
    "condensenet_74_g8": (2_935_416, 261_545_792),
    "nasnet_a_mobile": (5_289_978, 563_638_816),
    "pnasnet_5_mobile": (5_064_487, 587_293_200),
}
SMALL = 64


def images(side: int, batch: int = 1) -> Array:
    return np.random.default_rng(0).standard_normal((batch, 3, side, side), np.float32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name: str) -> None:
    cost = cost_of(lower(PaperNetwork(name)))
    assert (cost.params, cost.flops) == PUBLISHED[name]
    paper = STRUCTURES[name].paper_mflops
    assert paper is not None
    # the paper took CondenseNet's figures from its authors, who count norms and ReLUs too
    tolerance = 0.05 if "condensenet" in name else 0.0015
    assert cost.flops == pytest.approx(paper * 1e6, rel=tolerance)


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_are_unique_and_the_digest_follows_the_operators(name: str) -> None:
    network = PaperNetwork(name)
    names = [op.name for op in network.graph.ops]
    assert len(set(names)) == len(names)
    assert network.digest == PaperNetwork(name).digest
    others = {PaperNetwork(other).digest for other in PUBLISHED if other != name}
    assert network.digest not in others | {replace(network, resolution=192).digest}


def assert_one_result(name: str, side: int) -> None:
    graph = lower(PaperNetwork(name, side))
    weights = lived_in_weights(graph, 0)
    model = build_onnx(graph, weights)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    expected = run_torch(graph, weights, images(side))
    assert_close(expected, run_onnx(model, images(side)))
    free, moved = without_shuffles(graph, weights)
    assert free == graph
    assert moved.keys() == weights.keys()
    assert all(np.array_equal(moved[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", PUBLISHED)
def test_torch_and_onnxruntime_agree_and_no_operator_is_moved(name: str) -> None:
    assert_one_result(name, SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_torch_and_onnxruntime_agree_at_full_size(name: str) -> None:
    assert_one_result(name, 224)


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_training_step_reaches_every_weight(name: str) -> None:
    network = PaperNetwork(name, SMALL, classes=10)
    module = build_module(lower(network)).train()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    before = {key: value.clone() for key, value in module.named_parameters()}
    batch = torch.from_numpy(images(SMALL, batch=4))
    loss = torch.nn.functional.cross_entropy(module(batch), torch.arange(4))
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    assert torch.isfinite(loss)
    for key, value in module.named_parameters():
        assert torch.isfinite(value).all(), key
        assert not torch.equal(value, before[key]), key


def of_block(graph: Graph, block: str) -> list[object]:
    return [op.kind for op in graph.ops if op.block == block]


@pytest.mark.parametrize(
    ("name", "reduction", "after"),
    [("nasnet_a_mobile", "stage3.0", "stage3.1"), ("pnasnet_5_mobile", "stage4.0", "stage4.1")],
)
def test_a_cell_behind_a_reduction_halves_what_it_reads_from_before(
    name: str, reduction: str, after: str
) -> None:
    graph = lower(PaperNetwork(name))
    halves = [Shift(), AveragePool(1, 2)]
    assert not any(kind in of_block(graph, reduction) for kind in halves)
    assert [of_block(graph, after).count(kind) for kind in halves] == [1, 2]
    pools = [kind for kind in of_block(graph, reduction) if isinstance(kind, MaxPool)]
    assert pools
    assert all(pool.stride == 2 for pool in pools)


@pytest.mark.parametrize("groups", [4, 8])
def test_groups_of_a_condensenet_read_disjoint_channels(groups: int) -> None:
    graph = lower(PaperNetwork(f"condensenet_74_g{groups}"))
    layers = [op for op in graph.ops if isinstance(op.kind, Select)]
    assert len(layers) == sum((4, 6, 8, 10, 8)) + 1
    for op in layers[:-1]:
        assert isinstance(op.kind, Select)
        assert sorted(op.kind.channels) == list(range(op.source.channels))
    grouped = [op for op in graph.ops if isinstance(op.kind, Conv) and op.name != "stem.0"]
    assert {op.kind.groups for op in grouped if isinstance(op.kind, Conv)} == {groups}
