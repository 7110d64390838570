"""The session in which the agent runs a model, whoever wrote it."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas_sv2.latency.agent import onnx_run

PLAN: dict[str, Any] = {
    "runtime": "onnxruntime",
    "processor": "cpu",
    "threads": 1,
    "batch": 1,
    "seed": 0,
}


def scaled_by(number: float) -> bytes:
    """A model that multiplies its input by `number`."""
    shape = [1, 64]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y")]
    factor = numpy_helper.from_array(np.full(shape, number, np.float32), "factor")
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [factor])
    opset = helper.make_opsetid("", 13)
    body: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=7).SerializeToString()
    return body


ASK = """
import sys
import numpy as np
from nas_sv2.latency.agent import onnx_run
session, feed = onnx_run.onnx_session(sys.stdin.buffer.read(), {plan})
(found,) = session.run(None, feed)
least = np.finfo(np.float32).smallest_normal
print(int(((found != 0) & (np.abs(found) < least)).sum()), int((found == 0).sum()))
"""


@pytest.mark.parametrize("factor", [1e-39, 1e-38])
def test_denormal_numbers_are_0_and_cost_nothing(factor: float) -> None:
    """Both as weights and as products; in a process of its own, because it changes the process."""
    command = [sys.executable, "-c", ASK.format(plan=PLAN)]
    said = subprocess.run(command, input=scaled_by(factor), capture_output=True, check=True)
    denormal, zero = map(int, said.stdout.split())
    assert denormal == 0 and zero > 10


def test_a_model_is_read_as_onnx_alone() -> None:
    """Bytes that ONNX takes for a producer's name mark onnxruntime's own format."""
    session, feed = onnx_run.onnx_session(b"\x12\x06xxORTM" + scaled_by(2), PLAN)
    (found,) = session.run(None, feed)
    np.testing.assert_array_equal(found, 2 * feed["x"])
