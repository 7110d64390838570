"""The report of a study in Markdown: a short form of the page, for a pull request."""

from collections.abc import Sequence
from urllib.parse import quote

from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.studies.findings.front import Entry
from nas_sv2.studies.pages.markdown import code, escaped, table
from nas_sv2.studies.report import words as words
from nas_sv2.studies.report.facts import ReportFacts
from nas_sv2.studies.report.network_card import name_of
from nas_sv2.studies.report.page import broken, three
from nas_sv2.studies.storage.facts import StudyFacts
from nas_sv2.version import __version__


def report_markdown(report: ReportFacts, picture: str) -> str:
    """Return the whole text; `picture` is the name of the front's picture beside it."""
    facts = report.study
    sections = [
        [f"# {escaped(facts.study)}", "", *_lead(facts)],
        [f"![Front]({quote(picture)})"],
        ["## Front", "", *_front(facts)],
        ["## How sure the accuracies are", "", *_lines(words.certificate_lines(facts))],
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
            f"**{escaped(name_of(best))}** (trial {facts.best}): top-1 "
            f"{best.evaluation.accuracy:.2%}, {', '.join(times)}, "
            f"{best.cost.flops / 1e6:.1f} M multiply-adds, {best.cost.params / 1e6:.2f} M params. "
            + f"Of the accuracy: {escaped(words.accuracy_doubt(facts, best))}.",
            "",
        ]
    for rival, found in words.rivals_of(facts).items():
        lines += [f"- {_against(rival, each)}" for each in found]
    lines += [f"- {escaped(words.trust_of(facts))}", ""]
    return lines + table(("", ""), *words.question_of(facts))


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
    head = ("network", "trial", "top-1", *(f"{target} ms" for target in facts.targets))
    rows = [_row(entry) for entry in facts.front.entries]
    more = ("M multiply-adds", "M params", "stands")
    lines = table((*head, *more), *rows)
    return [*lines, "", escaped(words.bars_are(facts))]


def _row(entry: Entry) -> tuple[str, ...]:
    record = entry.record
    times = []
    for latency in record.latencies.values():
        shown = f"{three(latency.ms)}{_half(latency)} {latency.provenance}"
        times.append(shown + _contended(latency))
    beaten = f"beaten by {entry.beaten_by}" if record.feasible else f"beyond {broken(record)}"
    return (
        name_of(record),
        str(entry.number),
        f"{record.evaluation.accuracy:.2%}",
        *times,
        f"{record.cost.flops / 1e6:.1f}",
        f"{record.cost.params / 1e6:.2f}",
        "on the front" if entry.on_front else beaten,
    )


def _half(latency: Latency) -> str:
    ends = latency.ci_ms
    return "" if ends is None else f" ±{three((ends[1] - ends[0]) / 2)}"


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
