"""The gain from one change of a network on a device, in ms.

Each variant differs from the network in one choice of one stage. It takes the choice
that the paper or its guidelines call the plain one:

- no squeeze-and-excitation, no residual, no wide field;
- the 3×3 kernel, half of the channels convolved;
- a width that fills a runtime's blocks, one unit less.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.head_to_head import EMULATED_TIE, MOST_NETWORKS, orders_of
from nas_sv2.latency.measurements.measurement import Interval, Latency, Measurement
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import FIRST_STAGE, OPTIONS, Architecture

HALF = Fraction(1, 2)
MULTIPLE = 16
"""Channels that fill the blocks of every runtime we met: onnxruntime's are of 8 or 16."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of a network.

    Attributes:
        name: The difference, as `SE off in stage 4`.
        architecture: The variant.
        original: Cost of the network.
        cost: Cost of the variant.
    """

    name: str
    architecture: Architecture
    original: Cost
    cost: Cost

    @property
    def flops_change(self) -> int:
        """Multiply-adds that it has more than the network; negative where it has less."""
        return self.cost.flops - self.original.flops

    @property
    def promise(self) -> float:
        """The shares of multiply-adds and memory access that it saves, added; of no device."""
        flops = self.flops_change / self.original.flops
        access = self.cost.memory_access_bytes / self.original.memory_access_bytes - 1
        return -(flops + access)


def variants_of(architecture: Architecture) -> list[Variant]:
    """All variants that can be built and change an operator, the most promising first."""
    original = lower(architecture)
    before = cost_of(original)
    found = []
    for index in range(len(architecture.stages)):
        for name, changed in _changes(architecture, index):
            graph = lower(changed)
            if graph.ops != original.ops:
                where = f"{name} in stage {FIRST_STAGE + index}"
                found.append(Variant(where, changed, before, cost_of(graph)))
    return sorted(found, key=lambda variant: variant.promise, reverse=True)


def _changes(architecture: Architecture, index: int) -> Iterator[tuple[str, Architecture]]:
    stage = architecture.stages[index]
    wanted: list[tuple[str, dict[str, Any]]] = []
    for option in OPTIONS:
        plain = option.values[0]
        if getattr(stage, option.name) != plain:
            wanted.append((option.words_of(plain), {option.name: plain}))
    if stage.split != HALF:
        wanted.append((f"split {HALF}", {"split": HALF}))
    if stage.depth > 1:
        wanted.append(("one unit less", {"depth": stage.depth - 1}))
    for name, fields in wanted:
        if (changed := _with_stage(architecture, index, fields)) is not None:
            yield name, changed
    if stage.width % MULTIPLE:
        below = stage.width // MULTIPLE * MULTIPLE
        nearest = sorted((below, below + MULTIPLE), key=lambda width: abs(width - stage.width))
        for width in nearest:
            if (changed := _with_stage(architecture, index, {"width": width})) is not None:
                yield f"width {width} for {stage.width}, a multiple of {MULTIPLE},", changed
                break


def _with_stage(
    architecture: Architecture, index: int, fields: dict[str, Any]
) -> Architecture | None:
    """The same but for these fields of one stage, or None where that cannot be built."""
    stages = list(architecture.stages)
    stages[index] = replace(stages[index], **fields)
    try:
        return replace(architecture, stages=tuple(stages))
    except ConfigError:
        return None


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

    variant: Variant
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
    left_out: tuple[Variant, ...]
    rule: str


def gains_of(target: Target, architecture: Architecture) -> Gains:
    """Compare each variant of `architecture` with it on `target`.

    A measured target runs the network and the most promising variants in one session.

    Raises:
        DeviceError: If the device is missing or unreachable or lacks its runtime.
        MeasurementError: If the device does not answer with a latency.
        StoreError: If measurements cannot be stored.
    """
    variants = variants_of(architecture)
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


def _priced(target: Target, architecture: Architecture, variants: Sequence[Variant]) -> Gains:
    original = target.estimate(architecture)
    gains = [
        Gain(variant, target.estimate(variant.architecture).ms - original.ms, None, None)
        for variant in variants
    ]
    rule = (
        f"{original.provenance}, not timed together: orders of networks within "
        f"{EMULATED_TIE:.0%} are often wrong; variants of one network share a part of the error, "
        "which part is unknown"
    )
    return Gains(original, _sorted(gains), (), rule)


def _measured(
    variant: Variant, original: Measurement, changed: Measurement, settled: bool
) -> Gain:
    """Convert the ratio of the session's rounds to milliseconds of the network."""
    base = original.median_ms
    ratio, interval = changed.relative_to(original) or (changed.median_ms / base, None)
    ends = None if interval is None else ((interval[0] - 1) * base, (interval[1] - 1) * base)
    return Gain(variant, (ratio - 1) * base, ends, settled)


def _sorted(gains: Sequence[Gain]) -> tuple[Gain, ...]:
    return tuple(sorted(gains, key=lambda gain: gain.ms))
