"""Verdicts and pictures of the controlled experiments: do times follow the guidelines?

Each guideline predicts an order of some networks in a group. Two networks whose times differ by
no more than chance are a tie, by the rule of their session (`head_to_head`). In the picture, times
are relative to the first network of each group. Each table has a panel with its groups side by
side, which shows the paper's three widths at once.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from nas_sv2.latency.guidelines.experiment_run import ExperimentRow, TimedTable, times_of
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.pages.picture_style import COLOURS, GREY, new_figure, write_picture
from nas_sv2.studies.paper.published_figures import published_speeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Standing = Literal["reproduced", "tie", "contrary"]

CHAINS: Mapping[str, Sequence[Sequence[str]]] = {
    "G1": [("1:1", "1:2", "1:6", "1:12")],
    "G2": [("1 group", "2 groups", "4 groups", "8 groups")],
    "G3": [
        ("1-fragment", "2-fragment-series", "4-fragment-series"),
        ("1-fragment", "2-fragment-parallel", "4-fragment-parallel"),
    ],
    "G4": [
        ("no ReLU, no shortcut", "ReLU, no shortcut", "ReLU, shortcut"),
        ("no ReLU, no shortcut", "no ReLU, shortcut", "ReLU, shortcut"),
    ],
    "whole blocks": [("1:1", "1:4", "1:16"), ("1", "4", "16")],
}
"""Variants in the order that a guideline predicts, the fastest first, by table."""


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """The order of the networks in one group, against the prediction of a guideline.

    Attributes:
        group: Name of the group.
        chain: Variants that were timed, fastest first by the guideline.
        ends: Time of the last variant relative to the first.
        ends_settled: Whether the order of the two ends is more than chance.
        ties: Pairs of neighbours that are a tie.
        contrary: Pairs, faster first, whose settled order contradicts the guideline.
    """

    group: str
    chain: tuple[str, ...]
    ends: float
    ends_settled: bool
    ties: tuple[tuple[str, str], ...]
    contrary: tuple[tuple[str, str], ...]

    @property
    def standing(self) -> Standing:
        """`reproduced` if the ends are in order and no settled pair contradicts the guideline."""
        if self.contrary:
            return "contrary"
        return "reproduced" if self.ends_settled else "tie"

    def describe(self) -> str:
        """Return the verdict in one line."""
        first, last = self.chain[0], self.chain[-1]
        text = f"{last} takes × {self.ends:.2f} of {first}"
        if not self.ends_settled:
            text += ", a tie"
        if self.contrary:
            text += "; not in order: " + ", ".join(
                f"{one} is faster than {other}" for one, other in self.contrary
            )
        ties = [pair for pair in self.ties if pair != (first, last)]
        if ties:
            text += "; ties: " + ", ".join(f"{one} and {other}" for one, other in ties)
        return text


def chain_verdicts(timed: TimedTable) -> list[ChainVerdict]:
    """Return the verdicts on a table, by group; no guideline, no verdict."""
    found = []
    for group in timed.table.groups:
        for chain in CHAINS.get(timed.table.name, ()):
            verdict = _verdict(timed, group[0].group, chain)
            if verdict is not None:
                found.append(verdict)
    return found


def summary(name: str, verdicts: Sequence[ChainVerdict]) -> str:
    """Count in one line how often the order of a guideline is reproduced."""
    if not verdicts:
        return f"{name}: nothing to compare, its networks are not covered"
    standings = Counter(verdict.standing for verdict in verdicts)
    counted = ", ".join(f"{standing} {standings[standing]}" for standing in get_args(Standing))
    longer = sum(verdict.ends > 1 for verdict in verdicts)
    return (
        f"{name}: the guideline's ordering in {len(verdicts)} comparisons: {counted}; "
        f"the predicted slowest takes longer than the predicted fastest in {longer}"
    )


def _verdict(timed: TimedTable, group: str, chain: Sequence[str]) -> ChainVerdict | None:
    places: dict[str, int] = {}
    rows = [row for row in timed.rows if row.time is not None]
    for place, row in enumerate(rows):
        if row.experiment.group == group:
            places[row.experiment.variant] = place
    known = [variant for variant in chain if variant in places]
    if len(known) < 2:
        return None
    pairs = {(pair.faster, pair.slower): pair for pair in timed.orders.pairs}
    ratios: dict[tuple[str, str], float] = {}
    settled: dict[tuple[str, str], bool] = {}
    for names in combinations(known, 2):
        one, other = (places[name] for name in names)
        pair = pairs[one, other] if (one, other) in pairs else pairs[other, one]
        ratios[names] = pair.ratio if pair.faster == one else 1 / pair.ratio
        settled[names] = pair.settled
    ends = known[0], known[-1]
    return ChainVerdict(
        group,
        tuple(known),
        ratios[ends],
        settled[ends],
        tuple(pair for pair in pairwise(known) if not settled[pair]),
        tuple((b, a) for (a, b), ratio in ratios.items() if settled[a, b] and ratio < 1),
    )


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
    write_picture(figure, _caption(tables, remark), path)


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
