"""The comparison as a picture and as an HTML page, like the paper's figure 1.

Both show accuracy over speed, and speed over FLOPs. The page shows every column of the table on
hover.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from matplotlib.ticker import LogLocator, NullLocator
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from nas_sv2.files import write_out
from nas_sv2.studies.pages.picture_style import COLOURS, new_figure, write_picture
from nas_sv2.studies.paper.comparison import V2, YOURS, PaperComparison, Row, arm_speed, gpu_speed
from nas_sv2.studies.paper.published_figures import table8

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MARKERS: Final = ("o", "p", "s", "^", "v", "D", "P", "<", ">", "X", "h", "d")
YOURS_LOOK: Final = ("#000000", "*")
TICKS: Final = (1, 2, 3, 5, 7)
"""Ticks in each power of ten; labels of all nine would overlap."""
WIDE: Final = 3.0
"""Factor that values on a logarithmic axis span at least."""
TITLES: Final = ("accuracy and speed", "speed and FLOPs")
ACCURACY: Final = "ImageNet top-1 accuracy, % (published)"
MFLOPS: Final = "multiply-adds, M (our count)"


@dataclass(frozen=True, slots=True)
class Point:
    """The coordinates of a network in the picture.

    Attributes:
        row: Row of the network.
        images_per_s: Speed here.
        mflops: Multiply-adds, in 10⁶.
        accuracy: Published top-1 accuracy, in %; None for one of the user's networks.
    """

    row: Row
    images_per_s: float
    mflops: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Family:
    """Networks of one colour and marker.

    Attributes:
        name: Name of the family.
        colour: Colour as `#rrggbb`.
        marker: Marker, as matplotlib's letter.
        points: Networks in the order of the table.
    """

    name: str
    colour: str
    marker: str
    points: tuple[Point, ...]


def families_of(comparison: PaperComparison) -> list[Family]:
    """Return the families with a timed network; the colours and markers are always the same."""
    names = list(dict.fromkeys(row.family for row in table8()))
    looks = dict(zip(names, zip(COLOURS, MARKERS, strict=True), strict=True))
    points = list(_points(comparison))
    return [
        Family(name, colour, marker, drawn)
        for name, (colour, marker) in {**looks, YOURS: YOURS_LOOK}.items()
        if (drawn := tuple(point for point in points if point.row.family == name))
    ]


def _points(comparison: PaperComparison) -> Iterator[Point]:
    for row in comparison.rows:
        speed = comparison.images_per_s(row)
        if speed is not None and row.cost is not None:
            accuracy = None if row.published is None else row.published.top1_accuracy
            yield Point(row, speed, row.cost.flops / 1e6, accuracy)


def speed_label(comparison: PaperComparison) -> str:
    """Return the label of the speed axes."""
    batch = "" if comparison.batch == 1 else f", batch {comparison.batch}"
    return f"images/s on {comparison.target} ({comparison.provenance}{batch})"


def label_of(row: Row) -> str:
    """Return the label of a point: the level of a V2, or the name of a user's network."""
    return {V2: row.level, YOURS: row.model}.get(row.family, "")


def is_wide(values: Sequence[float]) -> bool:
    """Return whether the values need a logarithmic axis."""
    return max(values) > WIDE * min(values)


def caption_of(comparison: PaperComparison) -> list[str]:
    """Return the caption, one fact per line: device, accuracy, and networks not shown."""
    rows = comparison.rows
    lines = [
        f"{comparison.device} · {comparison.provenance}",
        "Accuracy: as published in table 8 of the ShuffleNet V2 paper, by different recipes",
    ]
    if any(row.reconstructed and row.latency for row in rows):
        lines.append("Hollow: structure reconstructed, as the sources leave details open")
    if lacking := sum(row.latency is None for row in rows):
        lines.append(f"Not shown: {lacking} of {len(rows)} networks, which have no latency here")
    if any(row.family == YOURS for row in rows):
        lines.append("Your networks have no published accuracy and are on the right only")
    return lines


def draw_comparison(comparison: PaperComparison, path: Path) -> None:
    """Write the picture as PNG.

    Raises:
        ConfigError: If the file cannot be written.
    """
    families = families_of(comparison)
    points = [point for family in families for point in family.points]
    figure = new_figure(13.0, 6.6)
    accuracy, complexity = figure.subplots(1, 2)
    for family in families:
        known = [(p.row, p.images_per_s, p.accuracy) for p in family.points if p.accuracy]
        _draw(accuracy, family, known)
        _draw(complexity, family, [(p.row, p.mflops, p.images_per_s) for p in family.points])
    accuracy.set(title=TITLES[0], xlabel=speed_label(comparison), ylabel=ACCURACY)
    complexity.set(title=TITLES[1], xlabel=MFLOPS, ylabel=speed_label(comparison))
    for axes in (accuracy, complexity):
        axes.margins(0.13)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    if is_wide([point.images_per_s for point in points]):
        _make_logarithmic(accuracy, "x")
        _make_logarithmic(complexity, "y")
    if is_wide([point.mflops for point in points]):
        _make_logarithmic(complexity, "x")
    handles, labels = complexity.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    write_picture(figure, caption_of(comparison), path)


def _draw(axes: "Axes", family: Family, points: Sequence[tuple[Row, float, float]]) -> None:
    if not points:
        return
    rows, across, up = zip(*points, strict=True)
    if family.name == V2:  # a line, for comparison with the others
        axes.plot(across, up, color=family.colour)
    for row, x, y in points:
        axes.annotate(
            label_of(row),
            (x, y),
            (6, 6),
            textcoords="offset points",
            color=family.colour,
            parse_math=False,  # a study's name may contain a $
        )
    axes.scatter(
        across,
        up,
        s=150 if family.name == YOURS else 55,
        marker=family.marker,
        facecolors=["none" if row.reconstructed else family.colour for row in rows],
        edgecolors=family.colour,
        linewidths=1.4,
        zorder=3,
    )
    axes.scatter([], [], marker=family.marker, color=family.colour, label=family.name)


def _make_logarithmic(axes: "Axes", which: str) -> None:
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=TICKS))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


SYMBOLS: Final = {
    "o": "circle", "p": "pentagon", "s": "square", "^": "triangle-up", "v": "triangle-down",
    "D": "diamond", "P": "cross", "<": "triangle-left", ">": "triangle-right", "X": "x",
    "h": "hexagon", "d": "diamond-tall", "*": "star",
}  # fmt: skip
"""Plotly's names of markers, by matplotlib's letters."""
HOVER_WIDTH: Final = 80


def write_page(comparison: PaperComparison, path: Path) -> None:
    """Write one HTML file that needs no internet connection.

    Raises:
        ConfigError: If the file cannot be written.
    """
    families = families_of(comparison)
    figure = make_subplots(rows=1, cols=2, subplot_titles=TITLES)
    for family in families:
        known = [(p, p.images_per_s, p.accuracy) for p in family.points if p.accuracy]
        every = [(p, p.mflops, p.images_per_s) for p in family.points]
        for column, points in ((1, known), (2, every)):
            if points:
                trace = _trace(comparison, family, points, in_legend=column == 2)
                figure.add_trace(trace, row=1, col=column)
    _label(figure, comparison, [point for family in families for point in family.points])
    page = figure.to_html(include_plotlyjs=True, full_html=True)
    write_out(path, page)


def _trace(
    comparison: PaperComparison,
    family: Family,
    points: Sequence[tuple[Point, float, float | None]],
    in_legend: bool,
) -> Scatter:
    open_mark = {True: "-open", False: ""}
    symbols = [
        SYMBOLS[family.marker] + open_mark[bool(point.row.reconstructed)] for point, _, _ in points
    ]
    return Scatter(
        x=[x for _, x, _ in points],
        y=[y for _, _, y in points],
        mode="lines+markers+text" if family.name == V2 else "markers+text",
        text=[escape(label_of(point.row)) for point, _, _ in points],
        textposition="top right",
        cliponaxis=False,
        marker={
            "symbol": symbols,
            "color": family.colour,
            "size": 16 if family.name == YOURS else 11,
            "line": {"width": 2, "color": family.colour},
        },
        line={"color": family.colour},
        name=family.name,
        legendgroup=family.name,
        showlegend=in_legend,
        hovertext=[_hover(comparison, point.row) for point, _, _ in points],
        hoverinfo="text",
    )


def _hover(comparison: PaperComparison, row: Row) -> str:
    """Return every column of the table, and the reconstructed details."""
    assert row.latency is not None and row.cost is not None, "it is drawn"
    lines = [
        f"{row.model} · {row.name} · {row.level}",
        f"here: {row.latency.ms:.3f} ms{_interval(row)}, {row.latency.provenance}, "
        f"{comparison.images_per_s(row):.1f} images/s",
        f"our count: {row.cost.flops / 1e6:.1f} MFLOPs, {row.cost.params / 1e6:.2f} Mparams",
    ]
    if row.published is not None:
        lines += [
            f"paper: {row.published.mflops:g} MFLOPs, top-1 error {row.published.top1_error:g} %",
            f"paper's GPU: {_or_dash(gpu_speed(row), 'g')} batches/s, "
            f"ARM: {_or_dash(arm_speed(row), 'g')} images/s",
        ]
    speeds = (
        comparison.speed(row),
        comparison.published_speed(row, arm_speed),
        comparison.published_speed(row, gpu_speed),
    )
    here, arm, gpu = (_or_dash(speed, ".2f") for speed in speeds)
    lines.append(f"relative to V2 of the level: here {here}, paper's ARM {arm}, GPU {gpu}")
    if row.reconstructed:
        lines.append(f"reconstructed: {row.reconstructed}")
    # Names come from the user, and plotly reads tags in a hover text.
    return "<br>".join("<br>".join(map(escape, wrap(line, HOVER_WIDTH))) for line in lines)


def _interval(row: Row) -> str:
    ends = row.latency.ci_ms if row.latency else None
    return "" if ends is None else " (95 %: {:.3f}–{:.3f})".format(*ends)


def _or_dash(number: float | None, form: str) -> str:
    return "–" if number is None else format(number, form)


def _label(figure: Figure, comparison: PaperComparison, points: Sequence[Point]) -> None:
    """Label and scale the axes, and add the caption."""
    speed = speed_label(comparison)
    by_speed = _scale([point.images_per_s for point in points])
    by_flops = _scale([point.mflops for point in points])
    figure.update_xaxes(title_text=speed, row=1, col=1, **by_speed)
    figure.update_yaxes(title_text=ACCURACY, row=1, col=1)
    figure.update_xaxes(title_text=MFLOPS, row=1, col=2, **by_flops)
    figure.update_yaxes(title_text=speed, row=1, col=2, **by_speed)
    caption = {"text": "<br>".join(caption_of(comparison)), "xanchor": "left", "yanchor": "top"}
    place = {"x": 0, "y": -0.14, "xref": "paper", "yref": "paper", "align": "left"}
    figure.add_annotation(showarrow=False, font={"size": 12}, **caption, **place)
    figure.update_layout(template="plotly_white", height=720, margin={"b": 170, "t": 60})


def _scale(values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis with explicit ticks if the values span a wide range."""
    if not is_wide(values):
        return {}
    powers = range(floor(log10(min(values))), ceil(log10(max(values))))
    return {"type": "log", "tickvals": [tick * 10**power for power in powers for tick in TICKS]}
