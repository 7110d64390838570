import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN
from nas_sv2.latency.measurements.plan import MeasurePlan

PLANS = [
    CPU_PLAN,
    GPU_PLAN,
    MeasurePlan(threads=4, seed=7, lowering="plain", affinity=(0, 3), precision="int8"),
]


@pytest.mark.parametrize("plan", PLANS)
def test_json_round_trip(plan: MeasurePlan) -> None:
    assert MeasurePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_every_field_is_in_the_key() -> None:
    changed = [
        dataclasses.replace(CPU_PLAN, **change)
        for change in (
            {"runtime": "torch", "lowering": "plain"},
            {"processor": "cuda"},
            {"provider": "xnnpack"},
            {"precision": "int8"},
            {"affinity": (0,)},
            {"reference": None},
            {"heat_s": 60.0},
            {"settle_s": 0.02},
            {"block_s": 0.02},
            {"min_block_runs": 4},
            {"loads": 1},
            {"batch": 2},
            {"threads": 2},
            {"lowering": "plain"},
            {"seed": 1},
            {"warmup_runs": 11},
            {"warmup_agreement": 0.03},
            {"warmup_limit_s": 2.0},
            {"min_runs": 51},
            {"max_runs": 99},
            {"ci_width": 0.02},
            {"time_limit_s": 2.0},
            {"noisy_width": 0.1},
            {"noisy_time_limit_s": 9.0},
            {"timeout_s": 9.0},
        )
    ]
    others = [field for field in dataclasses.fields(MeasurePlan) if field.name != "sessions"]
    assert len(changed) == len(others)
    assert len({plan.key for plan in [CPU_PLAN, *changed]}) == len(changed) + 1


def test_the_number_of_sessions_makes_no_other_plan() -> None:
    several = CPU_PLAN.changed(sessions=7)
    assert (several, several.key) == (CPU_PLAN, CPU_PLAN.key)
    assert several.sessions == 7
    assert "sessions" not in several.to_json()
    assert several.changed(batch=2).sessions == 7


@given(st.integers(1, 100))
def test_sessions_share_the_plan(count: int) -> None:
    whole = CPU_PLAN.changed(heat_s=60.0)
    parts = [whole.part(number, count) for number in range(count)]
    assert [part.heat_s for part in parts] == [60.0] + [0.0] * (count - 1)
    for name in ("loads", "min_runs", "max_runs"):
        asked = getattr(whole, name)
        assert asked <= sum(getattr(part, name) for part in parts) < asked + count
    assert sum(part.time_limit_s for part in parts) == pytest.approx(whole.time_limit_s)
    assert (whole.part(0, 1) == whole) and all(part.timeout_s == 120 for part in parts)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("runtime", "tflite"),
        ("lowering", "fused"),
        ("processor", "mps"),
        ("precision", "int4"),
        ("affinity", ()),
        ("affinity", (-1,)),
        ("heat_s", -1.0),
        ("settle_s", 0),
        ("batch", 0),
        ("threads", 1.5),
        ("min_runs", True),
        ("max_runs", 1),
        ("seed", -1),
        ("ci_width", 0),
        ("time_limit_s", float("inf")),
        ("timeout_s", "soon"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field} must"):
        dataclasses.replace(CPU_PLAN, **{field: value})  # type: ignore[arg-type]


def test_torch_takes_the_network_as_written() -> None:
    with pytest.raises(ConfigError, match=r"^lowering must"):
        MeasurePlan(runtime="torch", lowering="shuffle_free")


def test_an_unknown_reference_network_is_named() -> None:
    with pytest.raises(ConfigError, match="'resnet'"):
        MeasurePlan(reference="resnet")


@pytest.mark.parametrize(
    ("runtime", "processor", "precision"),
    [
        ("onnxruntime", "cpu", "fp16"),
        ("onnxruntime", "cuda", "int8"),
        ("litert", "cpu", "fp16"),
        ("torch", "cpu", "fp16"),
        ("litert", "cpu", "fp16"),
        ("torch", "cuda", "int8"),
    ],
)
def test_a_precision_that_nothing_runs_is_refused(
    runtime: str, processor: str, precision: str
) -> None:
    with pytest.raises(ConfigError, match=rf"precision with {runtime} on {processor}"):
        MeasurePlan(
            runtime=runtime,  # type: ignore[arg-type]
            processor=processor,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            lowering="plain",
        )


def test_a_processor_that_a_runtime_does_not_use_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"processor with litert must be one of .?cpu"):
        MeasurePlan(runtime="litert", processor="cuda")


def test_another_runtime_brings_its_own_defaults() -> None:
    """What the user chose stays; what stood at a default follows the runtime."""
    plan = MeasurePlan(threads=2).changed(runtime="ncnn")
    assert (plan.runtime, plan.precision, plan.threads) == ("ncnn", "fp16", 2)
    assert plan.changed(threads=1).precision == "fp16"
    assert plan.changed(runtime="torch") == MeasurePlan(
        runtime="torch", lowering="plain", threads=2
    )
    assert plan.changed(precision="int8").changed(seed=1).precision == "int8"
    quantised = MeasurePlan(precision="int8", lowering="plain").changed(runtime="ncnn")
    assert (quantised.precision, quantised.lowering) == ("int8", "plain")
    assert MeasurePlan.from_json({"runtime": "ncnn"}).precision == "fp16"
    assert MeasurePlan.from_json({"runtime": "torch"}).lowering == "plain"
    assert MeasurePlan.from_json({"runtime": "ncnn", "precision": "fp32"}).precision == "fp32"
    with pytest.raises(ConfigError, match=r"plan\.runtime must be one of"):
        MeasurePlan.from_json({"runtime": ["ncnn"]})
    with pytest.raises(ConfigError, match=r"^runtime must be one of"):
        plan.changed(runtime="tengine")


def test_ncnn_takes_one_image() -> None:
    with pytest.raises(ConfigError, match=r"^batch with ncnn must be 1"):
        MeasurePlan(runtime="ncnn", batch=2)


def test_the_keys_of_stored_measurements_stay() -> None:
    """Measurements of earlier versions are found by these."""
    assert (CPU_PLAN.key, GPU_PLAN.key) == ("60a71ea7214b6598", "73c4e00b6f9391f5")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"plan\.voltage must be one of the keys runtime"):
        MeasurePlan.from_json({"voltage": 5})


@pytest.mark.parametrize(
    ("plan", "can"),
    [
        (CPU_PLAN, True),
        (GPU_PLAN, False),
        (MeasurePlan(threads=2), False),
        (MeasurePlan(runtime="torch", lowering="plain"), True),
    ],
)
def test_when_cpu_time_is_latency(plan: MeasurePlan, can: bool) -> None:
    assert plan.cpu_time_is_latency is can


def test_the_same_cores_are_the_same_plan() -> None:
    plans = [MeasurePlan(affinity=cores) for cores in ((0, 1), (1, 0), (0, 1, 1, 0))]
    assert {plan.key for plan in plans} == {plans[0].key}
    assert plans[2].affinity == (0, 1)
    assert MeasurePlan.from_json(plans[1].to_json()) == plans[0]


def test_a_plan_without_a_provider_is_what_it_was_before_plans_had_one() -> None:
    assert "provider" not in CPU_PLAN.to_json()
    assert MeasurePlan(provider="CPUExecutionProvider") == CPU_PLAN
    assert MeasurePlan(provider="XnnpackExecutionProvider") == MeasurePlan(provider="xnnpack")


def test_cpu_time_is_no_latency_of_an_accelerator() -> None:
    assert MeasurePlan(provider="xnnpack").cpu_time_is_latency
    assert not MeasurePlan(provider="xnnpack", threads=2).cpu_time_is_latency
    assert not MeasurePlan(provider="coreml").cpu_time_is_latency


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provider": "n o"}, "must be the name of an execution provider"),
        ({"provider": "cuda"}, "processor=cuda runs onnxruntime with CUDA"),
        ({"provider": "xnnpack", "runtime": "litert"}, "provider with litert must be left out"),
        ({"provider": 3}, "provider"),
    ],
)
def test_a_provider_is_a_name_for_onnxruntime(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MeasurePlan(**changes)
