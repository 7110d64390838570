"""The geometry of the pictures on a report's cards, which the template draws as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS
from nas_sv2.studies.report.network_card import Part

ROW: Final = 34.0
"""Height of a row of the block diagram, in SVG units (pixels at full size)."""
LEFT, RIGHT = 58.0, 206.0
"""Left and right edge of the units; names are left of them, sizes right."""
UNIT, GAP = 14.0, 4.0
LEAST_UNIT: Final = 2.5


@dataclass(frozen=True, slots=True)
class Unit:
    """The box of a building block; its filled lower part is the convolved share."""

    x: float
    width: float
    convolved: float


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the block diagram.

    Attributes:
        part: The part of the network.
        y: The upper edge of the row.
        units: The boxes of its units; one empty box for a part that is not a stage.
        size: Output channels and map, kernel and split, in words.
    """

    part: Part
    y: float
    units: Sequence[Unit]
    size: str


def diagram_of(parts: Sequence[Part]) -> list[Row]:
    """Lay out the rows of a block diagram, from the input down."""
    rows = []
    for index, part in enumerate(parts):
        count = max(1, part.units)
        width = min(UNIT, max(LEAST_UNIT, (RIGHT - LEFT + GAP) / count - GAP))
        gap = GAP if width > LEAST_UNIT else (RIGHT - LEFT - count * width) / max(1, count - 1)
        if not part.units:
            units = [Unit(LEFT, 3 * UNIT + 2 * GAP, 0.0)]
        else:
            units = [Unit(LEFT + i * (width + gap), width, part.convolved) for i in range(count)]
        size = f"{part.channels} × {part.side}²" if part.side > 1 else f"{part.channels}"
        size = " · ".join(filter(None, [size, part.block]))
        rows.append(Row(part, index * ROW, units, size))
    return rows


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        label: The name of the curve, with its first and last value.
        points: The points as SVG reads them: `x,y x,y ...`.
        dots: The points one by one, each with its description.
    """

    label: str
    points: str
    dots: Sequence[tuple[float, float, str]]


CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 300.0, 96.0, 6.0


def curves_of(evaluation: Evaluation) -> list[Line]:
    """Return curves of training loss and top-1 by pass, each on its own scale.

    A training of a single pass has no curves.
    """
    history = evaluation.history
    if len(history) < 2:
        return []
    losses = [(i, epoch.train_loss) for i, epoch in enumerate(history)]
    scores = [(i, e.accuracy) for i, e in enumerate(history) if e.accuracy is not None]
    found = [_line("training loss", losses, len(history), "{:.3f} nats")]
    if len(scores) > 1:
        found.append(_line("top-1", scores, len(history), "{:.1%}"))
    return found


def _line(label: str, values: Sequence[tuple[int, float]], passes: int, form: str) -> Line:
    low, high = min(v for _, v in values), max(v for _, v in values)
    span = high - low or 1.0
    dots = [
        (
            MARGIN + i / (passes - 1) * (CURVE_WIDTH - 2 * MARGIN),
            CURVE_HEIGHT - MARGIN - (value - low) / span * (CURVE_HEIGHT - 2 * MARGIN),
            f"{label} after pass {i + 1}: {form.format(value)}",
        )
        for i, value in values
    ]
    first, last = form.format(values[0][1]), form.format(values[-1][1])
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
    return Line(f"{label} {first} → {last}", points, dots)


@dataclass(frozen=True, slots=True)
class Slice:
    """A kind of operator in a bar: its share and its time."""

    kind: str
    place: int
    share: float
    ms: float


def slices_of(profile: Profile) -> list[Slice]:
    """Return the kinds of operator that take time, in the order of the colours."""
    return [
        Slice(kind, place, profile.kind_ms[kind] / profile.ms, profile.kind_ms[kind])
        for place, kind in enumerate(RUN_KINDS)
        if profile.kind_ms[kind] > 0
    ]


def longest_of(profile: Profile, count: int = 6) -> list[tuple[str, str, float, float]]:
    """Return name, kind, ms and share of the kernels that take longest."""
    kernels = sorted(profile.kernels, key=lambda kernel: -kernel.us)[:count]
    return [(k.name, k.kind, k.us / 1e3, k.us / 1e3 / profile.ms) for k in kernels]
