"""Execution providers of onnxruntime: those that a board lacks, and those that fall back."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_files import save_model

from nas_sv2.latency.agent import agent, host_facts, onnx_run
from nas_sv2.latency.agent.needed import Refusal
from nas_sv2.latency.agent.node_times import node_providers
from nas_sv2.latency.agent.onnx_run import CPU_PROVIDER, OnnxRuntime
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.plan import MeasurePlan

XNNPACK = "XnnpackExecutionProvider"


def plan_with(provider: str | None) -> dict[str, Any]:
    return {**MeasurePlan(provider=provider).to_json(), "cpu_time_is_latency": False}


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    nodes = [helper.make_node("Relu", ["x"], ["m"]), helper.make_node("Exp", ["m"], ["y"])]
    return save_model(tmp_path / "m.onnx", nodes, {"x": [1, 4]}).read_bytes()


@pytest.fixture
def with_xnnpack(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """onnxruntime as a build with XNNPACK shows itself; what it is asked for is kept."""

    def build(starts: bool = True) -> list[Any]:
        asked: list[Any] = []

        class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
            def __init__(self, body: bytes, options: Any, providers: list[Any]) -> None:
                asked.extend(providers)
                # Without the agent's entries: one lets this whole process take denormals as 0.
                plain = onnxruntime.SessionOptions()
                plain.enable_profiling = options.enable_profiling
                plain.profile_file_prefix = options.profile_file_prefix
                super().__init__(body, plain, providers=[CPU_PROVIDER])

            def get_providers(self) -> list[str]:
                return [XNNPACK, CPU_PROVIDER] if starts else [CPU_PROVIDER]

        names = ("SessionOptions", "ExecutionMode", "GraphOptimizationLevel", "__version__")
        shown = {name: getattr(onnxruntime, name) for name in names}
        stand_in = SimpleNamespace(
            **shown,
            InferenceSession=Session,
            get_available_providers=lambda: [XNNPACK, CPU_PROVIDER],
        )
        monkeypatch.setitem(sys.modules, "onnxruntime", stand_in)
        return asked

    return build


def test_a_provider_that_is_not_there_is_refused_by_those_that_are() -> None:
    with pytest.raises(Refusal, match=r"has no provider rocm, but .*cpu") as refused:
        agent.fingerprint(plan_with("rocm"))
    assert refused.value.kind == "runtime"  # exit 2, and the search ends


def test_a_provider_that_does_not_start_is_refused(
    model: bytes, with_xnnpack: Callable[..., Any]
) -> None:
    with_xnnpack(starts=False)
    with pytest.raises(Refusal, match=r"cannot start Xnnpack.*would run on the CPU instead"):
        OnnxRuntime.load(model, plan_with("xnnpack"))


def test_nodes_that_fall_back_are_counted(
    model: bytes, with_xnnpack: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = with_xnnpack()
    profiled = node_providers

    def one_on_xnnpack(profile: Any) -> dict[str, str]:
        names = profiled(profile)
        assert set(names.values()) == {CPU_PROVIDER}
        return {**names, next(iter(names)): XNNPACK}

    monkeypatch.setattr(onnx_run, "node_providers", one_on_xnnpack)
    plan = {**plan_with("xnnpack"), "threads": 2}
    assert OnnxRuntime.load(model, plan).fallen_back == (1, 2)
    assert asked[0] == (XNNPACK, {"intra_op_num_threads": "2"})
    assert OnnxRuntime.facts(plan)["provider"] == XNNPACK


def test_the_device_of_a_plan_with_cuda_is_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the CPU, so that two GPUs of one machine were one device."""
    stand_in = SimpleNamespace(
        __version__="1.32.0", get_available_providers=lambda: ["CUDAExecutionProvider"]
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in)
    plan = MeasurePlan(processor="cuda")
    for gpu, name in (
        (("NVIDIA H200", "0:3b:0.0"), "NVIDIA H200"),
        (None, "a GPU without a name"),
    ):
        monkeypatch.setattr(host_facts, "cuda_gpu", lambda gpu=gpu: gpu)
        found = Fingerprint(agent.fingerprint(plan.to_json()))
        assert found.describe(plan) == f"{name} · onnxruntime 1.32.0 · 1 thread · batch 1"


def test_outputs_that_are_no_arrays_are_no_fault(tmp_path: Path) -> None:
    """Classifiers of scikit-learn give labels, and a sequence of maps from label to share."""
    nodes = [
        helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING),
        helper.make_node(
            "ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["a", "b"]
        ),
    ]
    shares = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [
            helper.make_tensor_value_info("text", TensorProto.STRING, [2, 2]),
            helper.make_value_info("y", helper.make_sequence_type_proto(shares)),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    body = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    plan = {**MeasurePlan(batch=2).to_json(), "cpu_time_is_latency": True}
    found = OnnxRuntime.load(body, plan)
    expected = np.random.default_rng(0).standard_normal((2, 2)).astype(np.float32)
    assert found.outputs == pytest.approx(expected.ravel().tolist())


def test_outputs_stay_as_small_as_the_runtime_gives_them(model: bytes) -> None:
    """A map of 21 classes took a gigabyte and minutes, as numbers of Python."""
    assert OnnxRuntime.load(model, plan_with(None)).outputs.nbytes == 4 * 4
