"""Draw the front as a PNG, for a report in Markdown."""

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from nas_sv2.studies.pages.picture_style import new_figure, write_png
from nas_sv2.studies.report.charts import (
    BASELINE,
    OTHER,
    Axis,
    Group,
    axes_of,
    groups_of,
    score_noise,
    score_of,
    score_title,
)
from nas_sv2.studies.report.facts import ReportFacts
from nas_sv2.studies.report.words import bars_are, trust_of
from nas_sv2.studies.storage.facts import StudyFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = {"x-thin": "x", "circle": "o", "square": "s", "diamond": "D"}
"""Matplotlib's markers by Plotly's names."""
PANEL_IN = (6.0, 4.6)
WIDTH = 100
"""Characters in a line of the caption, for each panel."""


def draw_front(report: ReportFacts, path: Path) -> None:
    """Write a picture with a panel for each target and for each budget on cost.

    Raises:
        ConfigError: The file cannot be written.
    """
    facts = report.study
    axes, groups = axes_of(facts), groups_of(facts)
    figure = new_figure(PANEL_IN[0] * len(axes), PANEL_IN[1])
    panels = figure.subplots(1, len(axes), squeeze=False, sharey=True)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for group in groups:
            _draw_group(panel, facts, axis, group)
        panel.set_xlabel(_plain(axis.title))
        panel.grid(alpha=0.3)
        panel.set_axisbelow(True)
        if axis.limit is not None:
            panel.axvline(axis.limit, color=BASELINE, linestyle="--", linewidth=1)
            panel.set_title(_plain(f"dashed: budget {axis.limit_is}"), fontsize=9)
    panels[0].set_ylabel(_plain(score_title(facts)))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    devices = dict.fromkeys(f"{each.described} · {each.provenance}" for each in report.devices)
    said = [*devices, bars_are(facts), trust_of(facts)]
    wide = WIDTH * len(axes)
    write_png(figure, [line for each in said for line in wrap(_plain(each), wide)], path)


def _draw_group(panel: "Axes", facts: StudyFacts, axis: Axis, group: Group) -> None:
    name, colour, symbol, members = group
    strong = colour != OTHER
    for place, record in enumerate(members.values()):
        measured = axis.provenance(record) in ("measured", None)
        x, y, ends = axis.value(record), score_of(record), axis.ends(record)
        panel.errorbar(
            x,
            y,
            xerr=[[x - ends[0]], [ends[1] - x]] if strong and ends else None,
            yerr=score_noise(facts, record) if strong else None,
            fmt=MARKS[symbol],
            color=colour,
            markerfacecolor=colour if measured else "none",
            markersize=7 if strong else 4,
            alpha=1 if strong else 0.6,
            elinewidth=0.8,
            label=None if place else f"{name} ({len(members)})",
        )


def _plain(text: str) -> str:
    """Escape dollars, between which Matplotlib would read formulas."""
    return text.replace("$", r"\$")
