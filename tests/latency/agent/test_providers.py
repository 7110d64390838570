"""Execution providers of onnxruntime: those that a board lacks, and those that fall back."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from onnx import helper
from onnx_files import save_model

from nas_sv2.latency.agent import agent, onnx_run
from nas_sv2.latency.agent.needed import Refusal
from nas_sv2.latency.agent.node_times import node_providers
from nas_sv2.latency.agent.onnx_run import CPU_PROVIDER, OnnxRuntime
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
