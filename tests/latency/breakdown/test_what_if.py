"""What variants are worth against their network, on a device with written times."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from scripted import PLAN, ROUNDS, ScriptedDevice, samples_of

from nas_sv2.latency.breakdown.what_if import MOST_VARIANTS, gains_of
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.measured_target import MeasuredTarget
from nas_sv2.space.choices.variants import counterfactuals
from nas_sv2.space.units.reference import reference

NETWORK = reference("shufflenet_v2_se_x0_5")
VARIANTS = {variant.name: variant for variant in counterfactuals(NETWORK)}


@dataclass
class TimedDevice(ScriptedDevice):
    """The network takes 4 ms and every variant, unless `ms` says otherwise."""

    ms: dict[str, float] = field(default_factory=dict)
    together: list[int] = field(default_factory=list)

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        self.together.append(len(payloads))
        answered = ScriptedDevice.measure(self, payloads, plan, reference=reference)
        return [
            dataclasses.replace(
                measurement,
                samples=samples_of([self.ms.get(measurement.architecture, 4.0)] * ROUNDS),
            )
            for measurement in answered
        ]


def test_variants_are_timed_with_the_network_and_told_apart_from_ties() -> None:
    se, unit = VARIANTS["SE off in stage 4"], VARIANTS["one unit less in stage 2"]
    digests = se.architecture.digest, unit.architecture.digest
    device = TimedDevice(ms=dict(zip(digests, (3.1, 4.8), strict=True)))
    found = gains_of(MeasuredTarget(MeasuredDevice("cpu", device, PLAN)), NETWORK)
    assert device.together == [1 + len(VARIANTS)]
    assert (found.original.ms, found.original.provenance) == (4.0, "measured")
    assert {gain.variant.name for gain in found.gains} == VARIANTS.keys()
    first, *ties, last = found.gains
    assert (first.variant.name, first.settled) == (se.name, True)
    assert first.ms == pytest.approx(-0.9)
    assert first.ci_ms == pytest.approx((-0.9, -0.9))
    assert (last.variant.name, last.settled) == (unit.name, True)
    assert last.ms == pytest.approx(0.8)
    assert all(gain.ms == 0 and gain.settled is False for gain in ties)
    assert "settled at 95 %" in found.rule


def test_of_too_many_variants_those_that_promise_least_are_left_out() -> None:
    deep = reference("se_shufflenet_v2_164")
    deep = dataclasses.replace(
        deep,
        resolution=32,
        stages=tuple(
            dataclasses.replace(stage, depth=2, width=width, kernel=5, wide_field=True)
            for stage, width in zip(deep.stages, (132, 140, 148, 156), strict=True)
        ),
    )
    variants = counterfactuals(deep)
    assert len(variants) > MOST_VARIANTS
    device = TimedDevice()
    found = gains_of(MeasuredTarget(MeasuredDevice("cpu", device, PLAN)), deep)
    assert device.together == [1 + MOST_VARIANTS]
    assert list(found.left_out) == variants[MOST_VARIANTS:]
    assert len(found.gains) == MOST_VARIANTS


def test_an_emulated_target_prices_the_differences() -> None:
    target = EmulatedArm.open()
    found = gains_of(target, NETWORK)
    assert [gain.ms for gain in found.gains] == sorted(gain.ms for gain in found.gains)
    for gain in found.gains:
        assert (gain.ci_ms, gain.settled) == (None, None)
        own = target.estimate(gain.variant.architecture).ms
        assert gain.ms == pytest.approx(own - target.estimate(NETWORK).ms)
    assert found.rule.startswith("emulated, not measured")
