"""Latencies of a study on a device that is slow for a while."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import optuna
import pytest
from doubles import FakeTarget, small_space

from nas_sv2.latency.agent.estimator import Samples
from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.devices.measured_device import SESSIONS, MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Beside, Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.target import MeasuredTarget, Target
from nas_sv2.search.walk.drift_correction import correct_drift
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.attributes import REFERENCE_MS

FACTS = {"cpu": "A", "runtime": "onnxruntime", "runtime_version": "1"}


def every_run(ms: float) -> Samples:
    return Samples((ms,) * 60, (ms,) * 60, (0,) * 60, tuple(i // 3 for i in range(60)))


@dataclass
class SlowingDevice:
    """Every network takes 3 ms and the reference 2, times the slowness of the session."""

    slowness: list[float]
    name: str = "cpu"
    sessions: list[list[str]] = field(default_factory=list)

    def start(self) -> None: ...

    def close(self) -> None: ...

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        return Fingerprint(FACTS)

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        slow = self.slowness[len(self.sessions) % len(self.slowness)]
        self.sessions.append([payload.architecture for payload in payloads])
        assert reference is not None
        assert plan.reference is not None
        return [
            Measurement(
                architecture=payload.architecture,
                plan=plan,
                fingerprint=Fingerprint(FACTS),
                samples=every_run((2 if payload.digest == reference.digest else 3) * slow),
                warmup_runs=20,
                stationary=True,
                session=str(len(self.sessions)),
                measured_at="2026-01-01T00:00:00+00:00",
                beside=Beside(plan.reference, every_run(2 * slow)),
            )
            for payload in payloads
        ]


def cpu(device: SlowingDevice) -> Mapping[str, Target]:
    return {"cpu": MeasuredTarget(MeasuredDevice("cpu", device, CPU_PLAN))}


@pytest.fixture
def candidate() -> Architecture:
    import random

    return small_space().sample(RandomSuggester(random.Random(0)))


def test_a_slow_spell_does_not_move_the_figures_of_a_study(candidate: Architecture) -> None:
    study = optuna.create_study()
    slow_then_quick = [1.4] * SESSIONS + [1.0] * SESSIONS
    device = SlowingDevice([1.0, 1.4, *[1.0] * (SESSIONS - 2), *slow_then_quick])
    targets, reference_ms = correct_drift(cpu(device), study)
    assert reference_ms == {"cpu": 2.0}  # one of the sessions is slow
    slow, quick = (targets["cpu"].estimate(candidate) for _ in range(2))
    assert slow.ms == pytest.approx(quick.ms) == pytest.approx(3.0)
    assert slow.reference_ms == pytest.approx(2.8)
    assert "measured 4.200 ms while shufflenet_v2_x1_0 took 2.800" in slow.note


def test_a_later_run_keeps_the_reference_time_of_the_first(candidate: Architecture) -> None:
    study = optuna.create_study()
    correct_drift(cpu(SlowingDevice([1.0])), study)
    later = SlowingDevice([1.5])
    targets, reference_ms = correct_drift(cpu(later), study)
    assert later.sessions == []
    assert reference_ms == study.user_attrs[REFERENCE_MS] == {"cpu": 2.0}
    assert targets["cpu"].estimate(candidate).ms == pytest.approx(3.0)


def test_targets_without_a_reference_are_left_as_they_are() -> None:
    fake = FakeTarget()
    assert correct_drift({"fake": fake}, optuna.create_study()) == ({"fake": fake}, {})
