"""The comparison as an HTML page: figure 1's panels, with every column of the table on hover."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from nas_sv2.errors import ConfigError
from nas_sv2.studies.paper.comparison import V2, YOURS, Comparison, Row, arm_speed, gpu_speed
from nas_sv2.studies.paper.comparison_picture import (
    ACCURACY,
    MFLOPS,
    TICKS,
    TITLES,
    Family,
    Point,
    caption_of,
    families_of,
    is_wide,
    label_of,
    speed_label,
)

SYMBOLS: Final = {
    "o": "circle", "p": "pentagon", "s": "square", "^": "triangle-up", "v": "triangle-down",
    "D": "diamond", "P": "cross", "<": "triangle-left", ">": "triangle-right", "X": "x",
    "h": "hexagon", "d": "diamond-tall", "*": "star",
}  # fmt: skip
"""Plotly's names of markers, by matplotlib's letters."""
HOVER_WIDTH: Final = 80


def write_page(comparison: Comparison, path: Path) -> None:
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
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "out", str(path), f"must be a writable file ({error.strerror})"
        ) from None


def _trace(
    comparison: Comparison,
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


def _hover(comparison: Comparison, row: Row) -> str:
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


def _label(figure: Figure, comparison: Comparison, points: Sequence[Point]) -> None:
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
