"""The networks that the paper compares with: counts, and the readings that must agree on them.

CondenseNet, NASNet-A and PNASNet-5: their published counts, and one result however run.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from run_graphs import assert_close, run_ncnn, run_onnx, run_torch, weights_with_statistics

from nas_sv2.errors import ConfigError
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork, published_network
from nas_sv2.space.families.skip_connections import dense_layer
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import (
    AveragePool,
    Conv,
    Graph,
    GraphBuilder,
    MaxPool,
    Select,
    Shift,
    Shuffle,
    Value,
)
from nas_sv2.space.networks.lowering import lower, network_from_document, network_to_document
from nas_sv2.space.runtimes.ncnn_lowering import build_ncnn
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights, weights_of
from nas_sv2.space.runtimes.torchvision_weights import from_torchvision
from nas_sv2.space.runtimes.weights import Array, check_weights
from nas_sv2.space.units.reference import REFERENCES

SIDE = 64  # small, and yet no stage of any network is down to one pixel
CLASSES = 10

MFLOPS_AND_PARAMS = {  # counted apart from our operators, most with other codes of the networks
    "shufflenet_v1_g3_x0_5": (37.59, 718_324),
    "shufflenet_v1_g3_x1_0": (137.46, 1_865_728),
    "shufflenet_v1_g3_x1_5": (292.44, 3_442_168),
    "shufflenet_v1_g3_x2_0": (524.05, 5_450_776),
    "mobilenet_v1_x0_25": (41.03, 470_072),
    "mobilenet_v1_x0_5": (149.50, 1_331_592),
    "mobilenet_v1_x0_75": (325.40, 2_585_560),
    "mobilenet_v1_x1_0": (568.74, 4_231_976),
    "mobilenet_v2_x0_15": (30.57, 1_415_496),
    "mobilenet_v2_x0_4": (41.80, 1_770_728),
    "mobilenet_v2_x0_6": (150.96, 2_217_000),
    "mobilenet_v2_x0_75": (153.94, 2_636_424),
    "mobilenet_v2_x1_0": (300.77, 3_504_872),
    "mobilenet_v2_x1_4": (582.20, 6_108_776),
    "light_xception_x0_5": (39.51, 554_648),
    "light_xception_x1_0": (144.80, 1_631_352),
    "light_xception_x1_5": (304.57, 3_226_360),
    "light_xception_x2_0": (525.36, 5_341_560),
    "light_densenet_x0_5": (44.1, None),
    "light_densenet_x1_0": (141.2, None),
    "light_densenet_x1_5": (299.5, None),
    "light_densenet_x2_0": (519.1, None),
    "igcv3_d_x0_7": (174.57, 2_502_486),
    "igcv3_d_x1_0": (312.97, 3_491_688),
    "igcv3_d_x1_4": (590.02, 6_023_004),
    "condensenet_74_g4": (516.6, 4_773_944),
    "condensenet_74_g8": (261.5, 2_935_416),
    "pnasnet_5_mobile": (587.3, 5_064_487),
    "resnet50": (3858.0, 25_557_032),
    "resnet50_v1_5": (4089.2, 25_557_032),
    "resnext50_32x4d": (4230.5, 25_028_904),
    "senet154": (20688.4, 115_088_984),
}
MFLOPS_OF_PAPERS = {  # nobody counted these for us: what the network's own paper says, in whole M
    "shufflenet_v1_g8_x0_5": 40,
    "shufflenet_v1_g8_x1_0": 138,
    "shufflenet_v1_g8_x1_5": 290,
    "shufflenet_v1_g8_x2_0": 522,
    "nasnet_a_mobile": 564,
}
FITTED = {  # how far in % from the paper's FLOPs a structure may be that was chosen by them
    **{name: 1.5 for name in STRUCTURES if name.startswith(("igcv2", "light_xception"))},
    **{name: 5 for name in STRUCTURES if name.startswith("light_densenet")},
    "shufflenet_v1_50": 1,
}
MOST_PARAMS = 10_000_000  # of a network that is run in every run of the tests


def small(name: str) -> Graph:
    return PaperNetwork(name, SIDE, classes=CLASSES).graph


def cases() -> list[Any]:
    """Every network; all but the lightest of each family, and the heaviest families, are slow."""
    params = {name: cost_of(small(name)).params for name in STRUCTURES}
    lightest: dict[str, str] = {}
    for name in sorted(STRUCTURES, key=lambda name: params[name]):
        if params[name] < MOST_PARAMS:
            lightest.setdefault(STRUCTURES[name].family, name)
    quick = set(lightest.values())
    return [pytest.param(n, marks=() if n in quick else pytest.mark.slow) for n in STRUCTURES]


def settled_weights(graph: Graph) -> dict[str, Array]:
    """Weights whose norms have seen images: values keep their scale through any depth.

    With statistics that are merely random, IGCV3 is chaotic: an input that differs by 1e-7 gives
    outputs that differ by 3e-3, in float64, and float32 cannot agree with itself.
    """
    module = build_module(graph).train()
    load_weights(module, graph, weights_with_statistics(graph, 0))
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        module(torch.from_numpy(images_for(graph, batch=4)))
    return weights_of(module)


def images_for(graph: Graph, batch: int = 1) -> Array:
    image = graph.input
    shape = (batch, image.channels, image.height, image.width)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@pytest.mark.parametrize("name", STRUCTURES)
def test_counts_are_known_or_the_network_is_marked_reconstructed(name: str) -> None:
    structure = STRUCTURES[name]
    cost = cost_of(PaperNetwork(name, structure.resolution).graph)
    mflops = cost.flops / 1e6
    if name in MFLOPS_AND_PARAMS:
        counted, params = MFLOPS_AND_PARAMS[name]
        decimals = len(str(counted).partition(".")[2])
        assert mflops == pytest.approx(counted, abs=0.51 * 10**-decimals)
        assert params in (cost.params, None)
    elif name in MFLOPS_OF_PAPERS:
        assert round(mflops) == MFLOPS_OF_PAPERS[name]
    else:
        assert structure.reconstructed
    if name in FITTED:
        assert structure.reconstructed
        assert structure.paper_mflops is not None
        assert mflops == pytest.approx(structure.paper_mflops, rel=FITTED[name] / 100)


@pytest.mark.parametrize("name", STRUCTURES)
def test_far_from_the_papers_count_is_said(name: str) -> None:
    structure = STRUCTURES[name]
    mflops = cost_of(PaperNetwork(name, structure.resolution).graph).flops / 1e6
    if structure.paper_mflops and not structure.reconstructed:
        assert mflops == pytest.approx(structure.paper_mflops, rel=0.05)


def assert_lowerings_agree(graph: Graph) -> None:
    weights = settled_weights(graph)
    images = images_for(graph)
    expected = run_torch(graph, weights, images)
    assert np.isfinite(expected).all()
    assert expected.std() > 0
    model = build_onnx(graph, weights)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert_close(expected, run_onnx(model, images))
    assert_close(expected, run_ncnn(build_ncnn(graph, weights), images))
    free, moved = without_shuffles(graph, weights)
    if free is not graph:
        assert not any(isinstance(op.kind, Shuffle) for op in free.ops)
        assert_close(expected, run_onnx(build_onnx(free, moved), images))
        assert_close(expected, run_ncnn(build_ncnn(free, moved), images))


@pytest.mark.parametrize("name", cases())
def test_torch_and_the_runtimes_agree(name: str) -> None:
    assert_lowerings_agree(small(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
def test_torch_and_the_runtimes_agree_at_full_size(name: str) -> None:
    assert_lowerings_agree(PaperNetwork(name, STRUCTURES[name].resolution).graph)


@pytest.mark.parametrize("name", cases())
def test_a_training_step_moves_the_weights(name: str) -> None:
    graph = PaperNetwork(name, 32, classes=CLASSES).graph
    module = build_module(graph).train()
    assert sum(p.numel() for p in module.parameters()) == cost_of(graph).params
    before = [parameter.detach().clone() for parameter in module.parameters()]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    labels = torch.tensor([1, 2])
    loss = torch.nn.functional.cross_entropy(
        module(torch.from_numpy(images_for(graph, batch=2))), labels
    )
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert torch.isfinite(loss)
    after = list(module.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in after)
    # Where a branch starts at zero, only the scale of its last norm moves in the first step.
    moved = sum(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert moved > len(before) / 8


def unlike_identity(theirs: torch.nn.Module) -> torch.nn.Module:
    """The same module with batch norms that do something, ready for inference."""
    generator = torch.Generator().manual_seed(0)
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor in layer.state_dict().values():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.0, generator=generator)
    return theirs.eval()


def state_of(theirs: torch.nn.Module) -> dict[str, Array]:
    return {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("mobilenet_v2_x0_4", lambda: torchvision.models.mobilenet_v2(width_mult=0.4)),
        ("resnext50_32x4d", torchvision.models.resnext50_32x4d),
        slow("mobilenet_v2_x1_0", torchvision.models.mobilenet_v2),
        slow("mobilenet_v2_x1_4", lambda: torchvision.models.mobilenet_v2(width_mult=1.4)),
        slow("resnet50_v1_5", torchvision.models.resnet50),
    ],
)
def test_torchvision_weights_give_torchvision_outputs(
    name: str, model: Callable[[], torch.nn.Module]
) -> None:
    theirs = unlike_identity(model())
    graph = PaperNetwork(name, 96).graph
    weights = from_torchvision(state_of(theirs))
    check_weights(graph, weights)
    images = images_for(graph, batch=2)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    assert expected.std() > 0
    assert_close(expected, run_torch(graph, weights, images))
    assert_close(expected, run_onnx(build_onnx(graph, weights, batch=2), images))


def test_the_dense_layer_is_torchvisions() -> None:
    channels, growth = 20, 6
    theirs = unlike_identity(
        torchvision.models.densenet._DenseLayer(channels, growth, bn_size=4, drop_rate=0)
    )
    build, source = GraphBuilder(), Value("input", channels, 14, 14)
    added = dense_layer(build, "layer", source, growth)
    graph = Graph(source, added, tuple(build.ops))
    names = {
        "norm1": "layer.norm.norm",
        "conv1": "layer.reduce.conv",
        "norm2": "layer.reduce.norm",
        "conv2": "layer.grow.conv",
    }
    weights = {
        f"{names[layer]}.{part}": array
        for name, array in state_of(theirs).items()
        for layer, part in [name.split(".")]
        if part != "num_batches_tracked"
    }
    check_weights(graph, weights)
    images = images_for(graph, batch=2)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    assert_close(expected, run_torch(graph, weights, images))
    assert_close(expected, run_onnx(build_onnx(graph, weights, batch=2), images))


def test_the_first_resnet_shrinks_before_its_3x3() -> None:
    published, later = (PaperNetwork(name).graph for name in ("resnet50", "resnet50_v1_5"))
    area = {graph: {op.name: op.output.height for op in graph.ops} for graph in (published, later)}
    assert area[published]["stage3.0.reduce"] == 28
    assert area[later]["stage3.0.reduce"] == 56


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_document_names_the_network(name: str) -> None:
    network = published_network(name)
    again = network_from_document(network_to_document(network))
    assert again == network
    assert again.digest == network.digest


def test_no_name_is_taken_twice_and_no_network_is_another() -> None:
    assert not STRUCTURES.keys() & REFERENCES.keys()
    digests = [published_network(name).digest for name in [*STRUCTURES, *REFERENCES]]
    assert len(digests) == len(set(digests))


def test_weights_go_through_torch_and_back() -> None:
    graph = small("light_densenet_x0_5")
    weights = weights_of(build_module(graph))
    check_weights(graph, weights)


@pytest.mark.parametrize(
    ("field", "value"), [("resolution", 0), ("channels", -1), ("classes", True), ("classes", 1.5)]
)
def test_what_cannot_be_built_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        PaperNetwork("mobilenet_v2_x1_0", **{field: value})


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(ConfigError, match="mobilenet_v2_x1_0"):
        PaperNetwork("mobilenet_v2_1_0")
    with pytest.raises(ConfigError, match="senet154"):
        published_network("senet_154")


def test_a_resolution_that_leaves_no_pixel_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^image_size .*light_densenet_x1_0 .*stage4\.pool.*; got '16x16'"
    ):
        _ = PaperNetwork("light_densenet_x1_0", 16).graph


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
    weights = weights_with_statistics(graph, 0)
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
def test_an_independent_transcription_agrees_at_full_size(name: str) -> None:
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
