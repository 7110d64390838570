"""The kernels of an ONNX file: what a runtime ran, by the nodes and values of the file."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_files import save_model

from nas_sv2.errors import ConfigError
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.kernels.model_kernels import WHOLE, kernels_of_model
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.onnx_models.model import OnnxModel, load_model


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    nodes = [
        helper.make_node("Conv", ["x", "wide"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "deep"], ["c"], "second", pads=[1] * 4, group=8),
        helper.make_node("Add", ["b", "c"], ["d"], "sum"),
        helper.make_node("Transpose", ["d"], ["y"], "turn", perm=[0, 2, 3, 1]),
    ]
    held = {"wide": np.ones((8, 3, 3, 3), "f"), "deep": np.ones((8, 1, 3, 3), "f")}
    return load_model(save_model(tmp_path / "m.onnx", nodes, {"x": [2, 3, 8, 8]}, held))


def test_kernels_have_the_kinds_of_their_nodes(model: OnnxModel) -> None:
    ran = [
        ("a_nchwc", "Conv", "conv", "first"),
        ("sum_nchwc", "Conv", "depthwise", "sum"),  # a convolution, named after the sum within
        ("second", "depthwise 3x3 s1 @8", "depthwise", "second"),  # as an emulated core says
        ("relu", "Relu", "element-wise", "relu"),
        ("ReorderOutput_token_7", "ReorderOutput", "data", None),
        ("turn", "Transpose", "shuffle", "turn"),
        ("own", "Something", "other", None),
    ]
    found = kernels_of_model(model, [NodeTime(name, runs_as, 1.0) for name, runs_as, *_ in ran])
    assert [(k.kind, *k.ops) for k in found] == [
        (kind, *([op] if op else [])) for _, _, kind, op in ran
    ]
    assert {kernel.block for kernel in found} == {WHOLE}
    assert found[4].name == "ReorderOutput_token_7"


def test_a_file_is_sent_as_it_is_or_not_at_all(model: OnnxModel) -> None:
    plan = MeasurePlan(batch=2)
    assert payload_of(model, plan).body == model.body
    assert payload_of(model, plan).architecture == model.digest
    for changes, message in (
        ({"batch": 1}, r"batch must be 2, the first size of the inputs of .*m.onnx; got 1"),
        ({"precision": "int8"}, r"precision must be left out: .*m.onnx is run as it is"),
        ({"runtime": "torch", "lowering": "plain"}, r"runtime must be onnxruntime to run"),
    ):
        with pytest.raises(ConfigError, match=message):
            payload_of(model, MeasurePlan(**{"batch": 2, **changes}))  # type: ignore[arg-type]
