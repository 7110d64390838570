"""The figures of a report: Plotly's plain data, and the geometry of the inline SVG on its cards.

Colours are for light and dark pages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.recipes.scores import SHARES, facts_of
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS
from nas_sv2.latency.measurements.measurement import Provenance
from nas_sv2.space.graph.peak_memory import memory_in_words, unit_of
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.pages.picture_style import COLOURS, GREY
from nas_sv2.studies.report.network_card import Part, name_of
from nas_sv2.studies.storage.facts import StudyFacts

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
        size = " × ".join(filter(None, [str(part.channels), _map(*part.map_size)]))
        size = " · ".join(filter(None, [size, part.block]))
        rows.append(Row(part, index * ROW, units, size))
    return rows


def _map(height: int, width: int) -> str:
    """Name the size of a map, `7²` or `6 × 8`; nothing if it is one pixel."""
    if height == width:
        return f"{height}²" if height > 1 else ""
    return f"{height} × {width}"


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
    """Return curves of training loss and the figure by pass, each on its own scale.

    A training of a single pass has no curves.
    """
    history = evaluation.history
    if len(history) < 2:
        return []
    losses = [(i, epoch.train_loss) for i, epoch in enumerate(history)]
    scores = [(i, e.figure.value) for i, e in enumerate(history) if e.figure is not None]
    unit, figure = evaluation.train_loss_unit, evaluation.figure
    found = [_line("training loss", losses, len(history), f"{{:.3f}} {unit}")]
    if len(scores) > 1:
        form = "{:.1%}" if figure.facts.unit == "share" else "{:.4g}"
        found.append(_line(figure.name, scores, len(history), form))
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


FRONT, BASELINE, AUDITED, OTHER = COLOURS[0], COLOURS[1], COLOURS[3], GREY
OPEN: Final[Mapping[Provenance, str]] = {
    "measured": "",
    "emulated": "-open",
    "predicted": "-open-dot",
    "published": "-open",
}
"""The mark of each origin of a latency: full, hollow, hollow with a dot."""
Figure = dict[str, Any]
"""The `data` and `layout` of a figure for Plotly.newPlot."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis of the front: a latency or a cost.

    Attributes:
        key: The key of the figure, unique in the page.
        title: The title, with unit and provenance.
        value: Gives the value of a candidate.
        ends: Gives the 95 % interval of the value, or None.
        provenance: Gives the origin of the value, or None for a cost, which is counted.
        limit: The study's budget, or None.
        limit_is: The budget in words.
    """

    key: str
    title: str
    value: Callable[[Record], float]
    ends: Callable[[Record], tuple[float, float] | None]
    provenance: Callable[[Record], Provenance | None]
    limit: float | None
    limit_is: str = ""


def axes_of(facts: StudyFacts) -> list[Axis]:
    """Return an axis for each target, and one for each budget on cost."""
    budget = facts.identity.get("budget", {})
    axes = [_latency_axis(facts, target, budget) for target in facts.targets]
    if flops := budget.get("flops"):
        admitted = flops * (1 + budget.get("tolerance", 0.0)) / 1e6
        said = f"{flops / 1e6:g} M + {budget.get('tolerance', 0.0):.0%}"
        axes.append(_counted("flops", "multiply-adds, M", _mflops, admitted, said))
    if params := budget.get("params"):
        said = f"{params / 1e6:g} M"
        axes.append(_counted("params", "parameters, M", _mparams, params / 1e6, said))
    if memory := budget.get("memory_bytes"):
        unit, unit_bytes = unit_of(memory)
        title, said = f"peak memory, {unit}", memory_in_words(memory)
        axes.append(
            _counted(
                "memory",
                title,
                lambda record: (record.memory_bytes or 0) / unit_bytes,
                memory / unit_bytes,
                said,
            )
        )
    return axes


def _latency_axis(facts: StudyFacts, target: str, budget: Mapping[str, Any]) -> Axis:
    kinds = dict.fromkeys(r.latencies[target].provenance for r in facts.records.values())
    limit = budget.get("latency_ms", {}).get(target)
    return Axis(
        f"latency-{facts.targets.index(target)}",
        f"latency on {target}, ms ({' and '.join(kinds)})",
        lambda record: record.latencies[target].ms,
        lambda record: record.latencies[target].ci_ms,
        lambda record: record.latencies[target].provenance,
        limit,
        "" if limit is None else f"{limit:g} ms",
    )


def _counted(
    key: str, title: str, value: Callable[[Record], float], limit: float, said: str
) -> Axis:
    return Axis(key, title, value, lambda _: None, lambda _: None, limit, said)


def _mflops(record: Record) -> float:
    return record.cost.flops / 1e6


def _mparams(record: Record) -> float:
    return record.cost.params / 1e6


def score_of(facts: StudyFacts, number: int) -> float:
    """Return the score as it is drawn: in percent if it is an accuracy, an error as it is.

    It is the mean of the fused estimate, or else the training's.
    """
    score = facts.records[number].evaluation.score
    if facts.estimates is not None:
        score = facts.estimates.by_trial[number].mean
    return facts_of(facts.compared_by).drawn(score)


def score_bar(facts: StudyFacts, number: int) -> float | None:
    """Return half of the 90 % interval of the estimate, or else the noise of the score."""
    if facts.estimates is None:
        return score_noise(facts, facts.records[number])
    estimate = facts.estimates.by_trial[number]
    return (estimate.high - estimate.low) / 2 * (100 if facts.compared_by in SHARES else 1)


def score_noise(facts: StudyFacts, record: Record) -> float | None:
    """Return the standard deviation of the score, from the certificate or the trial's own seeds.

    The certificate's value is for a score as the recipe gives it: the mean, if it has several
    seeds.
    """
    scale = 100 if record.evaluation.scored_by in SHARES else 1
    if facts.certificate is not None and facts.certificate.noise is not None:
        return scale * facts.certificate.noise
    spread = record.evaluation.spread
    return None if spread is None else scale * spread / len(record.evaluation.scores) ** 0.5


def score_title(facts: StudyFacts) -> str:
    """Return the title of the vertical axis."""
    of = " of a proxy" if facts.is_proxy else ""
    return facts.scored_by + of + (", %" if facts.compared_by in SHARES else "")


Group = tuple[str, str, str, Mapping[int, Record]]
"""A group of candidates: name in the legend, colour, symbol, members."""


def groups_of(facts: StudyFacts) -> list[Group]:
    """Group the candidates by their marks; later groups are drawn above earlier ones."""
    front = {entry.number: entry.record for entry in facts.front.members}
    hand = {n: r for n, r in facts.baselines.items()}
    audited = {n: facts.records[n] for n in facts.audited if n not in hand}
    named = front.keys() | hand.keys() | audited.keys()
    rest = {n: r for n, r in facts.records.items() if n not in named}
    within = {n: r for n, r in rest.items() if r.feasible}
    stopped = {n: r for n, r in rest.items() if not r.feasible}
    groups: list[Group] = [
        ("stopped early or beyond a limit", OTHER, "x-thin", stopped),
        ("beaten", OTHER, "circle", within),
        ("pruned, looked at by the audit", AUDITED, "square", audited),
        ("front", FRONT, "circle", {n: r for n, r in front.items() if n not in hand}),
        ("hand-designed", BASELINE, "diamond", hand),
    ]
    return [group for group in groups if group[3]]


def front_chart(facts: StudyFacts, axis: Axis) -> Figure:
    """Draw the score of every finished candidate against one axis, with known error bars."""
    data = [_trace(facts, axis, group) for group in groups_of(facts)]
    if len(facts.targets) == 1 and axis.key == "latency-0" and facts.front.members:
        data.insert(0, _stairs(facts, axis))
    return {
        "data": data,
        "layout": {
            "xaxis": {"title": {"text": escape(axis.title)}},
            "yaxis": {"title": {"text": escape(score_title(facts))}, **_upwards(facts)},
            **_limit(axis),
        },
    }


def _upwards(facts: StudyFacts) -> Figure:
    """Draw better candidates above worse ones: errors grow downwards."""
    return {"autorange": "reversed"} if facts_of(facts.compared_by).is_error else {}


def _stairs(facts: StudyFacts, axis: Axis) -> Figure:
    """Draw the best score at each latency as steps."""
    ordered = sorted(facts.front.members, key=lambda entry: axis.value(entry.record))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [axis.value(entry.record) for entry in ordered],
        "y": [score_of(facts, entry.number) for entry in ordered],
        "line": {"shape": "hv", "color": FRONT, "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _trace(facts: StudyFacts, axis: Axis, group: Group) -> Figure:
    name, colour, symbol, members = group
    records = list(members.values())
    strong = colour != OTHER
    trace: Figure = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [axis.value(record) for record in records],
        "y": [score_of(facts, number) for number in members],
        "hovertext": [_hover(facts, number, record) for number, record in members.items()],
        "hoverinfo": "text",
        "cliponaxis": False,
        "marker": {
            "symbol": [_symbol(symbol, axis.provenance(record)) for record in records],
            "color": colour,
            "size": 11 if strong else 7,
            "opacity": 1 if strong else 0.65,
            "line": {"width": 1.5, "color": colour},
        },
    }
    if not strong:
        return trace
    ends = [axis.ends(record) for record in records]
    if any(ends):
        pairs = [
            (0.0, 0.0) if end is None else (x - end[0], end[1] - x)
            for x, end in zip(trace["x"], ends, strict=True)
        ]
        trace["error_x"] = _bars(colour, [high for _, high in pairs], [low for low, _ in pairs])
    noise = [score_bar(facts, number) for number in members]
    if any(noise):
        trace["error_y"] = _bars(colour, [one or 0.0 for one in noise])
    return trace


def _symbol(symbol: str, provenance: Provenance | None) -> str:
    return symbol if symbol == "x-thin" or provenance is None else symbol + OPEN[provenance]


def _bars(colour: str, above: Sequence[float], below: Sequence[float] | None = None) -> Figure:
    bars: Figure = {"type": "data", "array": above, "color": colour, "thickness": 1, "width": 3}
    return bars if below is None else {**bars, "symmetric": False, "arrayminus": below}


def _limit(axis: Axis) -> Figure:
    """Draw the budget as a line with its name at the top."""
    if axis.limit is None:
        return {}
    line = {"color": BASELINE, "width": 1, "dash": "dash"}
    at = {"x0": axis.limit, "x1": axis.limit, "y0": 0, "y1": 1, "yref": "paper"}
    label = {"x": axis.limit, "y": 1, "yref": "paper", "text": escape(f"budget {axis.limit_is}")}
    place = {"showarrow": False, "yanchor": "bottom", "xanchor": "right", "font": {"size": 12}}
    return {"shapes": [{"type": "line", "line": line, **at}], "annotations": [{**label, **place}]}


def _hover(facts: StudyFacts, number: int, record: Record) -> str:
    """Describe a candidate, one fact a line; names are escaped, as Plotly reads tags."""
    evaluation = record.evaluation
    lines = [
        f"trial {number} · {name_of(record)}",
        f"{evaluation.describe()}{' of a proxy' * facts.is_proxy} · recipe {evaluation.recipe}, "
        f"seed {evaluation.seed}"
        + (f", stopped after pass {evaluation.epochs}" if evaluation.stopped else ""),
    ]
    for target, latency in record.latencies.items():
        ends = "" if latency.ci_ms is None else " ({:.3f}–{:.3f})".format(*latency.ci_ms)
        lines.append(f"{target} {latency.ms:.3f} ms{ends} · {latency.provenance}")
    lines.append(f"{_mflops(record):.1f} M multiply-adds · {_mparams(record):.2f} M params")
    lines += [words_of_stage(record, index) for index in range(len(record.architecture.stages))]
    if number in facts.audited:
        lines.append(f"pruned by {facts.audited[number]}, looked at all the same")
    broken = [f"{name} {excess:+.1%}" for name, excess in record.excesses.items() if excess > 0]
    if broken and not evaluation.stopped:
        lines.append(f"beyond its limit: {', '.join(broken)}")
    return "<br>".join(map(escape, lines))


def words_of_stage(record: Record, index: int) -> str:
    """Describe a stage briefly."""
    stage = record.architecture.stages[index]
    size = f"{stage.depth} × {stage.width}, split {stage.split}, {stage.kernel}×{stage.kernel}"
    return f"stage {index + 2}: {', '.join([size, *stage.additions])}"


TURNED_AWAY, TRAINING, REST = "turned away", "training", "asking, latency"
LANES: Final[Mapping[str, str]] = {TURNED_AWAY: GREY, TRAINING: COLOURS[0], REST: COLOURS[4]}
"""The lanes of the times, with their colours. A trial begins when the sampler is asked."""


def time_chart(facts: StudyFacts) -> dict[str, Any]:
    """Draw the times of trials, in minutes with a trial running."""
    kept = {entry.number for entry in facts.front.members}
    lanes: dict[str, list[tuple[float, float, str]]] = {lane: [] for lane in LANES}
    for step in facts.times.steps:
        head = f"trial {step.number} · {step.verdict} · {step.began:%Y-%m-%d %H:%M:%S} UTC"
        if step.verdict != "finished":
            said = escape(f"{head} · {step.seconds:.1f} s") + "<br>" + escape(step.why)
            lanes[TURNED_AWAY].append((step.at_s, step.seconds, said))
            continue
        front = " · on the front" if step.number in kept else ""
        timing = f"{head}{front} · {step.timing_s:.1f} s without training"
        lanes[REST].append((step.at_s, step.timing_s, escape(timing)))
        if step.training_s is not None:
            training = f"{head}{front} · {step.training_s:.1f} s of training"
            began_s = step.at_s + step.timing_s
            lanes[TRAINING].append((began_s, step.training_s, escape(training)))
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": lane,
            "y": [lane] * len(blocks),
            "base": [at / 60 for at, _, _ in blocks],
            "x": [seconds / 60 for _, seconds, _ in blocks],
            "hovertext": [said for _, _, said in blocks],
            "hoverinfo": "text",
            "marker": {"color": LANES[lane], "line": {"width": 0.5, "color": LANES[lane]}},
            "opacity": 0.85,
        }
        for lane, blocks in lanes.items()
    ]
    axis = {"title": {"text": "minutes with a trial running"}, "rangemode": "tozero"}
    return {"data": data, "layout": {"xaxis": axis, "barmode": "overlay", "showlegend": False}}
