"""The report of a study as one HTML file that needs no network.

The template escapes all values, and figures are JSON in which no tag can begin. A content security
policy keeps the page from loading anything, even if a name is malicious.
"""

import shlex
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.report import words as words
from nas_sv2.studies.report.charts import axes_of, front_chart, groups_of, time_chart
from nas_sv2.studies.report.facts import ReportFacts
from nas_sv2.studies.report.network_card import Winner, name_of
from nas_sv2.studies.report.pictures import curves_of, diagram_of, longest_of, slices_of
from nas_sv2.studies.storage.facts import StudyFacts
from nas_sv2.version import __version__


def report_page(report: ReportFacts) -> str:
    """Return the whole page."""
    from plotly.offline import get_plotlyjs

    facts = report.study
    axes = axes_of(facts)
    figures = {axis.key: front_chart(facts, axis) for axis in axes}
    latencies = [v for r in facts.records.values() for v in r.latencies.values()]
    best = next((one for one in report.winners if one.number == facts.best), None)
    return (
        _environment(facts)
        .from_string(_file("report.html.j2"))
        .render(
            facts=facts,
            report=report,
            best=best,
            best_is="" if best is None else words.best_is(best.record),
            axes=axes,
            figures={**figures, "time": time_chart(facts)},
            groups=groups_of(facts),
            all_measured=all(latency.provenance == "measured" for latency in latencies),
            predicted=any(latency.provenance == "predicted" for latency in latencies),
            contended=any(latency.contended for latency in latencies),
            question=words.question_of(facts),
            accuracy_doubt="" if best is None else words.accuracy_doubt(facts, best.record),
            rivals=words.rivals_of(facts),
            trust=words.trust_of(facts),
            bars_are=words.bars_are(facts),
            certificate_lines=words.certificate_lines(facts),
            baseline_name=next((name_of(record) for record in facts.baselines.values()), ""),
            turned_away=words.turned_away(facts),
            stops=words.stops_words(facts),
            too_few=words.too_few(facts),
            spent=words.spent(facts),
            time_lines=words.time_lines(facts),
            commands=words.commands_of(facts),
            repeat_lines=words.repeat_lines(facts),
            identity=words.identity_of(facts),
            trained_on=next(iter(facts.records.values())).evaluation.device,
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
        "percent": lambda share: f"{share:.1%}".replace("%", " %"),
        "percent0": _rounded,
        "three": three,
        "ends": lambda ends: f"{three(ends[0])}–{three(ends[1])}",
        "millions": lambda number: f"{number / 1e6:.1f}",
        "millions2": lambda number: f"{number / 1e6:.2f}",
        "seconds": lambda seconds: " ".join(words.duration(seconds)),
        "speed": words.speed,
        "name": name_of,
        "broken": broken,
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


def three(ms: float) -> str:
    """Format a time in ms with three significant digits, at most to the µs."""
    if ms >= 100:
        return f"{ms:.0f}"
    return f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 0.1 else f"{ms:.3f}"


def export_command(facts: StudyFacts, winner: Winner) -> str:
    """Return the command that exports this network."""
    parts = ["nas-sv2", "export", facts.study, "--trial", str(winner.number), "--out", "winner"]
    return shlex.join([*parts, "--storage", facts.storage])


def broken(record: Record) -> str:
    """Return the limit that a record exceeds most."""
    return max(record.excesses, key=record.excesses.__getitem__)


def _file(name: str) -> str:
    return files("nas_sv2.studies.report").joinpath(name).read_text(encoding="utf-8")
