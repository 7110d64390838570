"""The gain from one change of a network on a device, in ms."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas_sv2.latency.measurements.head_to_head import EMULATOR_ERROR, MOST_NETWORKS, orders_of
from nas_sv2.latency.measurements.measurement import Interval, Latency, Measurement
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.choices.variants import Counterfactual, counterfactuals
from nas_sv2.space.units.architecture import Architecture

MOST_VARIANTS = MOST_NETWORKS - 1


@dataclass(frozen=True, slots=True)
class Gain:
    """The difference between a variant and the network.

    Attributes:
        variant: Variant and its change.
        ms: Latency of the variant minus that of the network; negative if the variant is faster.
        ci_ms: 95 % interval of `ms`; None if nothing was run or there were too few runs.
        settled: Whether the order is more than chance; None if nothing was run.
    """

    variant: Counterfactual
    ms: float
    ci_ms: Interval | None
    settled: bool | None


@dataclass(frozen=True, slots=True)
class Gains:
    """The gains of a network's variants.

    Attributes:
        original: Latency of the network itself.
        gains: Variants, the fastest first.
        left_out: Least promising variants, which the session had no room for.
        rule: Meaning of the numbers, in words.
    """

    original: Latency
    gains: tuple[Gain, ...]
    left_out: tuple[Counterfactual, ...]
    rule: str


def gains_of(target: Target, architecture: Architecture) -> Gains:
    """Compare each counterfactual of `architecture` with it on `target`.

    A measured target runs the network and the most promising variants in one session.

    Raises:
        DeviceError: If the device is missing or unreachable or lacks its runtime.
        MeasurementError: If the device does not answer with a latency.
        StoreError: If measurements cannot be stored.
    """
    variants = counterfactuals(architecture)
    if target.device is None:
        return _priced(target, architecture, variants)
    chosen = variants[:MOST_VARIANTS]
    networks = [architecture, *(variant.architecture for variant in chosen)]
    session = target.device.measure_together(networks)
    orders = orders_of(session)
    settled = {
        pair.faster + pair.slower: pair.settled  # 0 is the network itself
        for pair in orders.pairs
        if 0 in (pair.faster, pair.slower)
    }
    gains = [
        _measured(variant, session[0], session[place], settled[place])
        for place, variant in enumerate(chosen, 1)
    ]
    left_out = tuple(variants[MOST_VARIANTS:])
    return Gains(session[0].latency(target.name), _sorted(gains), left_out, orders.rule)


def _priced(
    target: Target, architecture: Architecture, variants: Sequence[Counterfactual]
) -> Gains:
    original = target.estimate(architecture)
    gains = [
        Gain(variant, target.estimate(variant.architecture).ms - original.ms, None, None)
        for variant in variants
    ]
    rule = (
        f"{original.provenance}, not measured: differences of two latencies, each with an error "
        f"of about {EMULATOR_ERROR:.0%}; it is unknown how much of it they share"
    )
    return Gains(original, _sorted(gains), (), rule)


def _measured(
    variant: Counterfactual, original: Measurement, changed: Measurement, settled: bool
) -> Gain:
    """Convert the ratio of the session's rounds to milliseconds of the network."""
    base = original.median_ms
    ratio, interval = changed.relative_to(original) or (changed.median_ms / base, None)
    ends = None if interval is None else ((interval[0] - 1) * base, (interval[1] - 1) * base)
    return Gain(variant, (ratio - 1) * base, ends, settled)


def _sorted(gains: Sequence[Gain]) -> tuple[Gain, ...]:
    return tuple(sorted(gains, key=lambda gain: gain.ms))
