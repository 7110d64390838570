"""Pictures of the controlled experiments: times relative to the first network of each group.

Each table has a panel with its groups side by side, which shows the paper's three widths at once.
"""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nas_sv2.latency.guidelines.experiment_run import ExperimentRow, TimedTable, times_of
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.pages.picture_style import COLOURS, GREY, new_figure, write_png
from nas_sv2.studies.paper.published_figures import published_speeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, ARM, GPU = COLOURS[:3]
PANEL_WIDTH_IN: Final = 7.0
PANEL_HEIGHT_IN: Final = 4.2
LABEL_SIZE: Final = 8
HEADROOM: Final = 0.12
GAP: Final = 1.0
"""Distance between groups, in distances of variants."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a panel, with a value for each row of the table.

    Attributes:
        label: Label in the legend.
        colour: Colour as `#rrggbb`.
        marker: Marker, as matplotlib's letter.
        value: Function from a row to its height; None if there is none.
        filled: Whether the markers are filled.
    """

    label: str
    colour: str
    marker: str
    value: Callable[[ExperimentRow], float | None]
    filled: bool = False


def draw_guidelines(tables: Sequence[TimedTable], path: Path) -> None:
    """Draw the paper's tables: this device and the two of the paper.

    Raises:
        ConfigError: If the file cannot be written.
    """
    chosen = [timed for timed in tables if any(published_speeds(timed.table).values())]
    _draw(chosen, 2, _with_papers, "the paper's widths differ by platform", path)


def draw_further(tables: Sequence[TimedTable], path: Path) -> None:
    """Draw the tables that are not in the paper: times and FLOPs.

    Raises:
        ConfigError: If the file cannot be written.
    """
    chosen = [timed for timed in tables if not any(published_speeds(timed.table).values())]
    _draw(chosen, 3, _with_flops, "FLOPs on the same scale", path)


def _draw(
    tables: Sequence[TimedTable],
    columns: int,
    series_of: Callable[[TimedTable], list[Series]],
    remark: str,
    path: Path,
) -> None:
    rows = -(-len(tables) // columns)
    figure = new_figure(PANEL_WIDTH_IN * columns, PANEL_HEIGHT_IN * rows)
    for place, timed in enumerate(tables, 1):
        panel = figure.add_subplot(rows, columns, place)
        for series in series_of(timed):
            _draw_series(panel, timed, series)
        _draw_frame(panel, timed)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=10)
    write_png(figure, _caption(tables, remark), path)


def _with_papers(timed: TimedTable) -> list[Series]:
    published = published_speeds(timed.table)
    return [
        Series("this device", OURS, "o", _relative, filled=True),
        Series(
            "paper, ARM (Snapdragon 810)",
            ARM,
            "s",
            lambda row: published[row.experiment]["ARM"].relative_time,
        ),
        Series(
            "paper, GPU (GTX 1080Ti)",
            GPU,
            "^",
            lambda row: published[row.experiment]["GPU"].relative_time,
        ),
    ]


def _with_flops(timed: TimedTable) -> list[Series]:
    flops = {each: cost_of(lower(each.network)).flops for each in timed.table.experiments}
    first = {each: flops[group[0]] for group in timed.table.groups for each in group}
    return [
        Series("time on this device", OURS, "o", _relative, filled=True),
        Series("FLOPs", GREY, "D", lambda row: flops[row.experiment] / first[row.experiment]),
    ]


def _relative(row: ExperimentRow) -> float | None:
    return row.relative


def _draw_series(panel: "Axes", timed: TimedTable, series: Series) -> None:
    label = series.label
    for group in _placed(timed):
        known = [(x, row, y) for x, row in group if (y := series.value(row)) is not None]
        if not known:
            continue
        heights = [y for _, _, y in known]
        ends = None
        if series.filled:
            intervals = [row.relative_ci or (y, y) for _, row, y in known]
            ends = [
                [max(0.0, y - low) for y, (low, _) in zip(heights, intervals, strict=True)],
                [max(0.0, high - y) for y, (_, high) in zip(heights, intervals, strict=True)],
            ]
        panel.errorbar(
            [x for x, _, _ in known],
            heights,
            yerr=ends,
            label=label,
            color=series.colour,
            marker=series.marker,
            markersize=6 if series.filled else 7,
            markerfacecolor=series.colour if series.filled else "none",
            linewidth=1.2,
            capsize=3,
            zorder=3 if series.filled else 2,
        )
        label = "_"  # one entry in the legend


def _draw_frame(panel: "Axes", timed: TimedTable) -> None:
    groups = _placed(timed)
    placed = [pair for group in groups for pair in group]
    panel.axhline(1, color=GREY, linewidth=0.8, zorder=1)
    panel.set_xticks(
        [x for x, _ in placed],
        [row.experiment.variant for _, row in placed],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize=LABEL_SIZE,
    )
    for label, (_, row) in zip(panel.get_xticklabels(), placed, strict=True):
        label.set_color(GREY if row.not_covered else "black")
    top = panel.get_xaxis_transform()
    for group in groups:
        middle = (group[0][0] + group[-1][0]) / 2
        name = group[0][1].experiment.group
        panel.text(middle, 1.01, name, transform=top, ha="center", fontsize=LABEL_SIZE + 1)
    for before, after in pairwise(groups):
        edge = (before[-1][0] + after[0][0]) / 2
        panel.axvline(edge, color=GREY, linewidth=0.5, linestyle=":")
    panel.set_title(f"{timed.table.name}: {timed.table.title}", fontsize=10, pad=20, wrap=True)
    panel.set_ylabel("time, first of the group = 1")
    panel.margins(y=HEADROOM)
    panel.grid(axis="y", linewidth=0.3)


def _placed(timed: TimedTable) -> list[list[tuple[float, ExperimentRow]]]:
    """Return each row with its place on the axis, by group."""
    by_experiment = {row.experiment: row for row in timed.rows}
    groups, x = [], 0.0
    for group in timed.table.groups:
        groups.append([(x + place, by_experiment[each]) for place, each in enumerate(group)])
        x += len(group) + GAP
    return groups


def _caption(tables: Sequence[TimedTable], remark: str) -> list[str]:
    times = times_of(tables)
    if not times:
        return ["none of these networks is covered"]
    latency = times[0].latency
    bars = "bars: 95 % intervals" if latency.ci_ms else "no intervals: nothing was run"
    drawn = f"drawn {datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    grey = any(row.not_covered for timed in tables for row in timed.rows)
    return [
        f"{latency.device} · {latency.provenance}",
        f"times of networks, those of one image, as multiples of the first of each group · {bars} "
        f"· {remark}" + (" · grey names: not covered" if grey else "") + f" · {drawn}",
    ]
