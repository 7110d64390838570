"""ONNX models: the opsets they are written in, and the numbers they never hold."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from run_graphs import run_onnx, weights_with_statistics

from nas_sv2.errors import ConfigError
from nas_sv2.resolution import height_and_width
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.onnx_lowering import OPSET, OPSETS, build_onnx, opset_of
from nas_sv2.space.runtimes.quantization import quantize
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import count_flushed
from nas_sv2.space.units.architecture import Architecture, Stage

EVERY_OPTION = Architecture(
    stem=(8,),
    stages=(Stage(2, 16, se=True, wide_field=True), Stage(2, 32, residual=True, kernel=5)),
    head=32,
    resolution=32,
    classes=5,
)
NETWORKS = [
    EVERY_OPTION,
    PaperNetwork("mobilenet_v2_x0_15", 32, classes=5),  # clips
    PaperNetwork("condensenet_74_g8", 32, classes=5),  # norms, selections, average pools
    PaperNetwork("nasnet_a_mobile", 96, classes=5),  # pads
]


@pytest.mark.parametrize("network", NETWORKS, ids=["space", "mobilenet", "condensenet", "nasnet"])
def test_every_opset_gives_the_same_numbers(network: Classifier) -> None:
    graph = lower(network)
    graph, weights = without_shuffles(graph, weights_with_statistics(graph, 0))
    shape = (2, 3, *height_and_width(network.resolution))
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    expected = None
    for opset in (OPSETS[0], 15, OPSETS[-1]):
        model = build_onnx(graph, weights, None, opset)
        onnx.checker.check_model(model, full_check=True)
        assert opset_of(model) == opset
        assert onnx.load_model_from_string(model).ir_version == (7 if opset < 15 else 8)
        logits = run_onnx(model, images)
        expected = logits if expected is None else expected
        np.testing.assert_array_equal(logits, expected)


def test_int8_is_the_same_in_every_opset() -> None:
    graph = lower(EVERY_OPTION)
    weights = weights_with_statistics(graph, 0)
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    oldest, newest = (
        run_onnx(quantize(build_onnx(graph, weights, None, opset), images), images)
        for opset in (OPSETS[0], OPSETS[-1])
    )
    np.testing.assert_array_equal(oldest, newest)


@pytest.mark.parametrize("opset", [12, 18, 0, -1])
def test_other_opsets_are_refused(opset: int) -> None:
    graph = lower(EVERY_OPTION)
    with pytest.raises(ConfigError, match=f"opset must be from 13 to 17; got {opset}"):
        build_onnx(graph, weights_with_statistics(graph, 0), opset=opset)
    assert OPSET == 13


def numbers_next_to_0(model: bytes) -> int:
    held = map(numpy_helper.to_array, onnx.load_model_from_string(model).graph.initializer)
    floats = [array for array in held if array.dtype == np.float32]
    assert floats
    return sum(int(((np.abs(array) < 1e-30) & (array != 0)).sum()) for array in floats)


@pytest.mark.parametrize("network", NETWORKS[:3], ids=["space", "mobilenet", "condensenet"])
@pytest.mark.parametrize("scale", [1e-39, 1e-33])
def test_weights_next_to_0_are_written_as_0(network: Classifier, scale: float) -> None:
    graph = lower(network)
    weights = weights_with_statistics(graph, 0)
    zeros = {name: array.copy() for name, array in weights.items()}
    for name, array in weights.items():
        dead = len(array) // 4
        array[:dead] *= np.float32(scale)
        zeros[name][:dead] = 0
    model = build_onnx(graph, weights)
    assert numbers_next_to_0(model) == 0
    assert count_flushed(graph, weights) > 100
    images = np.ones((1, 3, *height_and_width(network.resolution)), np.float32)
    np.testing.assert_array_equal(
        run_onnx(model, images), run_onnx(build_onnx(graph, zeros), images)
    )


def test_a_batch_norm_that_makes_them_is_counted_and_written_as_0() -> None:
    graph = lower(dataclasses.replace(EVERY_OPTION, head=4))
    weights = weights_with_statistics(graph, 0)
    assert count_flushed(graph, weights) == 0
    weights["head.conv.conv.weight"][0] = 1e-20
    weights["head.conv.norm.weight"][0] = 1e-15
    weights["head.conv.norm.bias"][0] = 1
    assert numbers_next_to_0(build_onnx(graph, weights)) == 0
    assert count_flushed(graph, weights) == weights["head.conv.conv.weight"][0].size
