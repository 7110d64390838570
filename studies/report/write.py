"""Writes the report of a study: one page of HTML, or Markdown with a picture beside it.

The page needs no network. Its template escapes all values, and figures are JSON in which no tag
can begin. A content security policy keeps the page from loading anything, even if a name is
malicious. The Markdown is a short form of the page, for a pull request.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.files import checked_out, write_out
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.pages.markdown import code, escaped, table
from nas_sv2.studies.pages.picture_style import new_figure, write_picture
from nas_sv2.studies.report import words
from nas_sv2.studies.report.charts import (
    BASELINE,
    OTHER,
    Axis,
    Group,
    axes_of,
    curves_of,
    diagram_of,
    front_chart,
    groups_of,
    longest_of,
    score_bar,
    score_of,
    score_title,
    slices_of,
    time_chart,
)
from nas_sv2.studies.report.facts import ReportFacts, read_report
from nas_sv2.studies.report.network_card import NetworkCard, OperatorProfiles, name_of
from nas_sv2.studies.report.words import bars_are, three, trust_of
from nas_sv2.studies.storage.confirmation_store import confirmation_lines
from nas_sv2.studies.storage.facts import StudyFacts
from nas_sv2.studies.storage.runs import study_command
from nas_sv2.version import __version__

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
        if facts_of(facts.compared_by).is_error:
            panel.yaxis.set_inverted(True)
    panels[0].set_ylabel(_plain(score_title(facts)))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    devices = dict.fromkeys(f"{each.described} · {each.provenance}" for each in report.devices)
    said = [*devices, bars_are(facts), trust_of(facts)]
    wide = WIDTH * len(axes)
    write_picture(figure, [line for each in said for line in wrap(_plain(each), wide)], path)


def _draw_group(panel: "Axes", facts: StudyFacts, axis: Axis, group: Group) -> None:
    name, colour, symbol, members = group
    strong = colour != OTHER
    for place, (number, record) in enumerate(members.items()):
        measured = axis.provenance(record) in ("measured", None)
        x, y, ends = axis.value(record), score_of(facts, number), axis.ends(record)
        panel.errorbar(
            x,
            y,
            xerr=[[x - ends[0]], [ends[1] - x]] if strong and ends else None,
            yerr=score_bar(facts, number) if strong else None,
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


def report_markdown(report: ReportFacts, picture: str) -> str:
    """Return the whole text; `picture` is the name of the front's picture beside it."""
    facts = report.study
    confirmed = confirmation_lines(list(facts.confirmations))
    sections = [
        [f"# {escaped(facts.study)}", "", *_lead(facts)],
        [f"![Front]({quote(picture)})"],
        ["## Front", "", *_front(facts)],
        ["## How sure the scores are", "", *_lines(words.certificate_lines(facts))],
        *([["## Confirmation", "", *_lines(confirmed)]] if confirmed else []),
        ["## What was turned away", "", *_turned_away(facts)],
        ["## What mattered", "", *_importances(report)],
        ["## Time", "", *_time(facts)],
        ["## Repeat it", "", *_repeat(report)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _lead(facts: StudyFacts) -> list[str]:
    lines = []
    if facts.best is None:
        lines += ["No finished network keeps every limit of the study.", ""]
    else:
        best = facts.records[facts.best]
        times = (
            f"{three(latency.ms)} ms on {escaped(target)} "
            f"({latency.provenance}{_interval(latency)}{_contended(latency)})"
            for target, latency in best.latencies.items()
        )
        lines += [
            f"**{escaped(name_of(best))}** (trial {facts.best}): "
            f"{escaped(best.evaluation.describe())}{' of a proxy' * facts.is_proxy}, "
            f"{', '.join(times)}, "
            f"{best.cost.flops / 1e6:.1f} M multiply-adds, {best.cost.params / 1e6:.2f} M params"
            f"{' of the backbone' if facts.detector else ''}{_of_detector(best)}. "
            + f"Of the {facts.figure.noun}: {escaped(words.accuracy_doubt(facts, best))}.",
            "",
        ]
    for rival, found in words.rivals_of(facts).items():
        lines += [f"- {_against(rival, each)}" for each in found]
    lines += [f"- {escaped(words.trust_of(facts))}", ""]
    return lines + table(("", ""), *words.question_of(facts))


def _of_detector(record: Record) -> str:
    if record.detector_flops is None:
        return ""
    return f", {record.detector_flops / 1e6:.1f} M multiply-adds of the detector"


def _interval(latency: Latency) -> str:
    ends = latency.ci_ms
    return "" if ends is None else f", 95 %: {three(ends[0])}–{three(ends[1])}"


def _contended(latency: Latency) -> str:
    return ", contended" if latency.contended else ""


def _against(rival: str, found: words.Against) -> str:
    said = [f"{found.score_gain} ({found.better.mark})"]
    said += [
        f"{words.speed(compared.gain)} on {target} ({compared.mark})"
        for target, compared in found.faster.items()
    ]
    return escaped(f"against {rival}: {found.name}, {found.role}: {', '.join(said)}")


def _front(facts: StudyFacts) -> list[str]:
    lines = table(facts.front.columns, *(row.cells for row in facts.front.rows))
    return [*lines, "", *_lines(words.front_lines(facts))]


def _turned_away(facts: StudyFacts) -> list[str]:
    rows = words.turned_away(facts)
    head = ("limit", "turned away", "audited", "on the front", "of all at most (95 %)")
    lines = table(head, *rows) if rows else ["No candidate was turned away."]
    return [*lines, "", escaped(words.stops_words(facts))]


def _importances(report: ReportFacts) -> list[str]:
    if not report.importances:
        return [escaped(words.too_few(report.study))]
    lines = []
    for each in report.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in list(each.shares.items())[:5])
        said = shares or "too little is foretold to say"
        head = f"{each.objective} ({each.trials} trials, {max(0.0, each.foretold):.0%} foretold)"
        lines.append(f"- {escaped(f'{head}: {said}')}")
    return lines


def _time(facts: StudyFacts) -> list[str]:
    spent = ", ".join(f"{value} {unit} {said}" for value, unit, said in words.spent(facts))
    return [escaped(f"{spent}."), "", *_lines(words.time_lines(facts))]


def _repeat(report: ReportFacts) -> list[str]:
    facts = report.study
    lines = _lines(words.repeat_lines(facts))
    lines += [f"- {code(command)}" for command in words.commands_of(facts)]
    for run in facts.runs[-1:]:
        versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        lines.append(f"- {escaped(f'begun {run.began[:19]} UTC on {run.machine}: {versions}')}")
    for device in report.devices:
        key = "" if device.key is None else f", fingerprint {device.key}"
        lines.append(f"- {escaped(f'{device.described}, {device.provenance}{key}')}")
    lines += [f"- {escaped(f'{name}: {said}')}" for name, said in words.identity_of(facts)]
    return [*lines, "", f"Written by nas-sv2 {__version__}."]


def _lines(said: Sequence[str]) -> list[str]:
    return [f"- {escaped(line)}" for line in said]


def report_page(report: ReportFacts) -> str:
    """Return the whole page."""
    from plotly.offline import get_plotlyjs

    facts = report.study
    axes = axes_of(facts)
    latencies = [v for r in facts.records.values() for v in r.latencies.values()]
    return (
        _environment(facts)
        .from_string(_file("report.html.j2"))
        .render(
            facts=facts,
            report=report,
            words=words,
            confirmed=confirmation_lines(list(facts.confirmations)),
            best=next((one for one in report.winners if one.number == facts.best), None),
            axes=axes,
            figures={a.key: front_chart(facts, a) for a in axes} | {"time": time_chart(facts)},
            groups=groups_of(facts),
            all_measured=all(latency.provenance == "measured" for latency in latencies),
            version=__version__,
            css=_file("report.css"),
            js=_file("report.js"),
            plotly=get_plotlyjs(),
        )
    )


def _environment(facts: StudyFacts) -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent0": _rounded,
        "three": three,
        "ends": lambda ends: f"{three(ends[0])}–{three(ends[1])}",
        "millions": lambda number: f"{number / 1e6:.1f}",
        "millions2": lambda number: f"{number / 1e6:.2f}",
        "seconds": lambda seconds: " ".join(words.duration(seconds)),
        "speed": words.speed,
        "name": name_of,
        "diagram_of": diagram_of,
        "curves_of": curves_of,
        "slices_of": slices_of,
        "longest_of": longest_of,
        "export_command": lambda winner: export_command(facts, winner),
    }
    return environment


def _rounded(share: float) -> str:
    """Format a share in whole percent, but never a small share as 0 %."""
    return "< 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")


def export_command(facts: StudyFacts, winner: NetworkCard) -> str:
    """Return the command that exports this network."""
    options = ("--trial", str(winner.number), "--out", "winner", "--storage", facts.storage)
    return study_command("export", facts.study, *options)


def _file(name: str) -> str:
    return files("nas_sv2.studies.report").joinpath(name).read_text(encoding="utf-8")


PICTURE = ".png"
FORMS: Mapping[str, Sequence[str]] = {"html": (".html", ".htm"), "md": (".md", ".markdown")}
"""The endings of a file of each form."""


def write_report(
    db: Database,
    study: str,
    path: Path,
    form: str | None,
    operators: bool,
    notify: Callable[[str], None],
) -> list[Path]:
    """Write the report of a study and return the written files.

    Args:
        db: The database of the study.
        study: The name of the study.
        path: The file to write.
        form: `html` or `md`; None for that of the path's ending, with which it must agree.
        operators: Whether to time the operators of the front on measured targets now.
        notify: Called with the name of each slow step.

    Raises:
        ConfigError: The path or the form is not allowed, or the study has no finished trial.
        StoreError: The database cannot be read.
    """
    chosen = _form_of(path, form)
    path = checked_out(path)
    is_page = chosen == "html"
    profiles = OperatorProfiles(db, operators, notify)
    report = read_report(db, study, profiles, reuse_maps=is_page)
    notify("drawing")
    return _write_page(report, path) if is_page else _write_markdown(report, path)


def _form_of(path: Path, form: str | None) -> str:
    """Return the form that the ending of the path names; it must agree with `form`.

    Raises:
        ConfigError: There is no such form, or the path ends as another kind of file does.
    """
    if form is not None and form not in FORMS:
        raise ConfigError("form", form, "must be one of " + ", ".join(FORMS))
    endings = {ending: name for name, known in FORMS.items() for ending in known}
    named = endings.get(path.suffix.lower())
    if named is None or form not in (None, named):
        allowed = FORMS[form] if form else tuple(endings)
        raise ConfigError("out", str(path), "must end in " + " or ".join(allowed))
    return named


def _write_page(report: ReportFacts, path: Path) -> list[Path]:
    write_out(path, report_page(report))
    return [path]


def _write_markdown(report: ReportFacts, path: Path) -> list[Path]:
    picture = path.with_suffix(PICTURE)
    write_out(path, report_markdown(report, picture.name))
    draw_front(report, picture)
    return [path, picture]
