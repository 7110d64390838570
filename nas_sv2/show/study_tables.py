"""Studies as tables, as lines and as plain data."""

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType

from nas_sv2.show.tables import front_notes, plain_table, pruned_data
from nas_sv2.studies.report.words import question_of
from nas_sv2.studies.storage.catalog import Deleted, StudySummary
from nas_sv2.studies.storage.confirmation_store import confirmation_lines
from nas_sv2.studies.storage.facts import StudyFacts


def front_data(facts: StudyFacts) -> dict[str, Any]:
    """Give the front with its pruned candidates and confirmations as plain data."""
    return {
        "study": facts.study,
        "entries": facts.front.to_json(),
        "pruned": pruned_data(facts.pruned),
        "confirmations": [each.to_json() for each in facts.confirmations],
    }


def study_notes(facts: StudyFacts) -> list[str]:
    """Say how the figures of the front came about, one fact a line."""
    return [
        *front_notes(facts.records, facts.certificate),
        *(each.describe() for each in facts.pruned),
        *confirmation_lines(list(facts.confirmations)),
    ]


def studies_table(found: Sequence[StudySummary]) -> RenderableType:
    """Make the table of a database's studies, the oldest first."""
    table = plain_table("study", "targets", "budget", "finished", "best top-1", "began (UTC)")
    for each in found:
        table.add_row(
            each.name,
            ", ".join(each.targets),
            ", ".join(each.budget) or "none",
            str(each.finished),
            "–" if each.best_accuracy is None else f"{each.best_accuracy:.2%}",
            "–" if each.began is None else f"{each.began:%Y-%m-%d %H:%M}",
        )
    return table


def studies_data(found: Sequence[StudySummary]) -> list[dict[str, Any]]:
    """Return the studies of a database as plain data."""
    return [
        {
            "study": each.name,
            "targets": list(each.targets),
            "budget": list(each.budget),
            "finished": each.finished,
            "best_accuracy": each.best_accuracy,
            "began": None if each.began is None else each.began.isoformat(),
        }
        for each in found
    ]


def study_table(facts: StudyFacts) -> RenderableType:
    """The question and the progress of a study."""
    table = plain_table(facts.study, "")
    for name, value in [*question_of(facts), *_progress(facts)]:
        table.add_row(name, value)
    return table


def run_lines(facts: StudyFacts) -> list[str]:
    """Return the time and command of each start of the search, a line each."""
    return [f"{run.began[:16].replace('T', ' ')} UTC: {run.command}" for run in facts.runs]


def study_data(facts: StudyFacts) -> dict[str, Any]:
    """Return a study's identity, progress and runs as plain data."""
    return {
        "study": facts.study,
        "identity": dict(facts.identity),
        "trials": facts.progress,
        "best": facts.best,
        "runs": [{"began": run.began, "command": run.command} for run in facts.runs],
    }


def deleted_lines(found: Deleted) -> list[str]:
    """Say which parts of a study were removed, and which stay."""
    return [
        f"{found.name}: {found.trials} trials and {found.records} records removed",
        *([f"{found.weights} removed"] if found.weights else []),
        *([f"{len(found.artifacts)} attached files removed"] if found.artifacts else []),
        "its measurements and trainings stay: other studies use them",
    ]


def _progress(facts: StudyFacts) -> list[tuple[str, str]]:
    trials = ", ".join(f"{count} {state}" for state, count in facts.progress.items())
    rows = [("trials", trials or "none yet")]
    if facts.best is not None:
        best = facts.records[facts.best]
        name = best.baseline or best.architecture.digest[:8]
        rows.append(("best", f"trial {facts.best}: {name}, top-1 {best.evaluation.accuracy:.2%}"))
    return rows
