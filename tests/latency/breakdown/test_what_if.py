"""Each variant is the network but for the one thing that its name says.

What variants are worth against their network, on a device with written times.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from scripted import PLAN, ROUNDS, ScriptedDevice, samples_of
from strategies import architectures

from nas_sv2.latency.breakdown.what_if import MOST_VARIANTS, Variant, gains_of, variants_of
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.graph.guidelines import SCORES, blocks_of, scores_by_block
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.reference import REFERENCES, reference

FIELDS: dict[str, tuple[str, Any]] = {
    "SE off": ("se", False),
    "residual off": ("residual", False),
    "wide field off": ("wide_field", False),
    "kernel 3": ("kernel", 3),
    "split 1/2": ("split", Fraction(1, 2)),
}


def check(original: Architecture, variant: Variant) -> None:
    """Differs in one field of one stage, the one that its name says."""
    match = re.fullmatch(r"(.*?) in stage (\d)", variant.name)
    assert match is not None
    number = int(match[2]) - 2
    was, now = original.stages[number], variant.architecture.stages[number]
    value: Any
    if match[1] in FIELDS:
        field, value = FIELDS[match[1]]
    elif match[1] == "one unit less":
        field, value = "depth", was.depth - 1
    else:
        width = re.fullmatch(rf"width (\d+) for {was.width}, a multiple of 16,", match[1])
        assert width is not None, variant.name
        field, value = "width", int(width[1])
        assert value % 16 == 0
        assert abs(value - was.width) < 16
    assert getattr(was, field) != value
    assert now == dataclasses.replace(was, **{field: value})
    stages = tuple(now if i == number else stage for i, stage in enumerate(original.stages))
    assert variant.architecture == dataclasses.replace(original, stages=stages)


@settings(max_examples=60, deadline=None)
@given(architectures())
def test_a_variant_differs_in_what_it_says_and_in_nothing_else(original: Architecture) -> None:
    before, ops = dataclasses.replace(original), lower(original).ops
    variants = variants_of(original)
    for variant in variants:
        check(original, variant)
        assert lower(variant.architecture).ops != ops
        assert variant.cost == cost_of(lower(variant.architecture))
        assert variant.flops_change == variant.cost.flops - cost_of(lower(original)).flops
    names = [variant.name for variant in variants]
    digests = {variant.architecture.digest for variant in variants}
    assert len(set(names)) == len(names) == len(digests)
    assert [v.promise for v in variants] == sorted((v.promise for v in variants), reverse=True)
    assert original == before


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "se_shufflenet_v2_164"])
def test_what_is_asked_of_the_papers_networks(name: str) -> None:
    names = {variant.name for variant in variants_of(reference(name))}
    common = {f"one unit less in stage {number}" for number in (2, 3, 4)}
    if name == "shufflenet_v2_x1_0":
        widths = {"width 112 for 116, a multiple of 16, in stage 2"}
        assert names == common | widths | {"width 224 for 232, a multiple of 16, in stage 3"}
    else:
        options = {f"{what} off in stage {n}" for what in ("SE", "residual") for n in (2, 3, 4, 5)}
        assert names > common | options


def test_a_width_that_its_neighbours_forbid_is_passed_over() -> None:
    # 20 → 16 would be no more than the 16 channels of the stem, so 32; then stage 3 has to be
    # wider than that and 34 → 32 is not, so 48.
    network = Architecture((16,), (Stage(1, 20), Stage(1, 34)), 16, resolution=32)
    names = [variant.name for variant in variants_of(network)]
    assert "width 32 for 20, a multiple of 16, in stage 2" in names
    assert "width 32 for 34, a multiple of 16, in stage 3" in names
    tight = Architecture((16,), (Stage(1, 20), Stage(1, 30)), 16, resolution=32)
    names = [variant.name for variant in variants_of(tight)]
    assert not any("stage 2" in name for name in names)


def test_an_option_without_effect_is_no_variant() -> None:
    single = Architecture((8,), (Stage(1, 16, residual=True),), 16, resolution=32)
    assert variants_of(single) == []


@pytest.mark.parametrize("name", ["shufflenet_v2_star_x0_5", "shufflenet_v2_se_x1_0"])
def test_blocks_add_up_to_the_network(name: str) -> None:
    graph = lower(REFERENCES[name])
    blocks = blocks_of(graph)
    assert sum(map(cost_of, blocks.values()), Cost()) == cost_of(graph)
    scores = scores_by_block(graph)
    assert list(scores) == list(blocks)
    assert all(row.keys() == SCORES.keys() for row in scores.values())
    unequal, equal = scores["head"]["G1"], scores["stage3.1"]["G1"]
    assert unequal is not None
    assert equal is not None
    assert unequal > equal


NETWORK = reference("shufflenet_v2_se_x0_5")
VARIANTS = {variant.name: variant for variant in variants_of(NETWORK)}


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
    found = gains_of(
        MeasuredTarget(MeasuredDevice("cpu", device, PLAN.changed(sessions=1))), NETWORK
    )
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
    variants = variants_of(deep)
    assert len(variants) > MOST_VARIANTS
    device = TimedDevice()
    found = gains_of(MeasuredTarget(MeasuredDevice("cpu", device, PLAN.changed(sessions=1))), deep)
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
    assert found.rule.startswith("emulated, not timed together")
