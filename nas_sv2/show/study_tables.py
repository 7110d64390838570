"""Studies as tables, as lines and as plain data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from nas_sv2.counts import counted
from nas_sv2.evaluate.fitting.evaluation import describe_place
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.show.console import plain_table
from nas_sv2.show.measure_tables import latency_notes
from nas_sv2.studies.findings.audit import Pruned
from nas_sv2.studies.findings.certificate import UNCERTIFIED, Certificate
from nas_sv2.studies.findings.confirmation import Confirmation, Finding
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.rank_agreement import Estimate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.replay_comparison import Move, ReplayComparison
from nas_sv2.studies.findings.stop_audit import audit_stops
from nas_sv2.studies.storage.catalog import Deleted, StudySummary
from nas_sv2.studies.storage.confirmation_store import confirmation_lines
from nas_sv2.studies.storage.facts import StudyFacts
from nas_sv2.studies.storage.leftovers import Leftovers
from nas_sv2.studies.storage.repair import Damage

if TYPE_CHECKING:  # it loads torch
    from nas_sv2.search.replay import Replayed


def front_table(front: Front) -> RenderableType:
    """Make the table of the front, fastest first, then of the other baselines."""
    table = plain_table(*front.columns)
    for row in front.rows:
        table.add_row(*row.cells, style=None if row.on_front else "dim")
    return table


def front_notes(front: Front, certificate: Certificate | None) -> list[str]:
    """Return the notes on the figures of the front, one fact a line.

    Args:
        front: The front of the study.
        certificate: The certificate of its recipe and data, or None.
    """
    records = front.records
    if not records:
        return ["no finished trial yet"]
    record = next(iter(records.values()))
    evaluation = record.evaluation
    notes = []
    for name in record.latencies:
        notes += _latency_notes(name, [each.latencies[name] for each in records.values()])
    predicted = [
        entry.number
        for entry in front.entries
        if any(v.provenance == "predicted" for v in entry.record.latencies.values())
    ]
    if predicted:
        trials = ", ".join(map(str, predicted))
        notes.append(f"?: predicted, the same search measures it at its end: trials {trials}")
    contended = [n for n, r in records.items() if any(v.contended for v in r.latencies.values())]
    if contended:
        notes.append(f"contended while measured: trials {', '.join(map(str, contended))}")
    if beyond := front.describe_beyond():
        notes.append(beyond)
    if stops := audit_stops(front):
        notes.append(stops.describe())
    if uneven := evaluation.describe_majority():
        notes.append(uneven)
    if of_int8 := evaluation.describe_form():
        notes.append(of_int8)
    figure, score = evaluation.figure, facts_of(evaluation.scored_by).name
    if evaluation.scored_by != figure.by:
        notes.append(f"compared by {score}, not by {figure.name}")
    notes += _seeds_note(records)
    notes.append(
        f"{figure.name}: recipe {evaluation.recipe}, seed {evaluation.seed}, {evaluation.data}, "
        f"{evaluation.val_images:,} validation images; "
        + (UNCERTIFIED if certificate is None else certificate.describe())
    )
    return notes


def _seeds_note(records: Mapping[int, Record]) -> list[str]:
    """Say that figures are means over seeds, if they are."""
    evaluation = next(iter(records.values())).evaluation
    figure, score = evaluation.figure, facts_of(evaluation.scored_by).name
    if len(evaluation.scores) < 2:
        return []
    return [
        f"{figure.name}{' and loss' * (evaluation.mae is None)}: means of "
        f"{len(evaluation.scores)} trainings, standard deviation of the {score} between them "
        f"{_spread(records)}" + ("; ± in the table" if evaluation.scored_by == figure.by else "")
    ]


def _latency_notes(target: str, latencies: Iterable[Latency]) -> list[str]:
    """Name device, origin and drift correction of a target's latencies, once for each kind."""
    notes = []
    first = dict[tuple[str, str], Latency]()
    for each in latencies:
        first.setdefault((each.device, each.provenance), each)
    for (device, provenance), latency in first.items():
        notes.append(f"{device} · {provenance}")
        # A measurement's note is about itself; other notes are about the method.
        if provenance != "measured" and latency.note:
            notes.append(f"{target}: {latency.note}")
        if latency.ratio is not None:
            reference_ms = latency.ms / latency.ratio
            notes.append(
                f"{target}: {latency.reference} counts as {reference_ms:.3f} ms, against drift"
            )
    return list(dict.fromkeys(notes))


def _beliefs(facts: StudyFacts) -> list[str]:
    """Say what the estimates are of, and name the neighbours whose order is not sure."""
    notes = [] if facts.estimates is None else [facts.estimates.describe()]
    tied = ", ".join(f"{worse} and {better}" for worse, better in facts.ties)
    return [*notes, f"ties: trials {tied}"] if tied else notes


def _spread(records: Mapping[int, Record]) -> str:
    """Return the smallest and largest of the candidates' spreads."""
    spreads = [s for r in records.values() if (s := r.evaluation.spread) is not None]
    return f"{min(spreads):.2g} to {max(spreads):.2g}"


def pruned_data(pruned: Iterable[Pruned]) -> list[dict[str, Any]]:
    """Return the counts of candidates that guidelines pruned as plain data."""
    return [{**asdict(each), "most_wrong": each.most_wrong} for each in pruned]


def front_data(facts: StudyFacts) -> dict[str, Any]:
    """Give the front with its pruned candidates and confirmations as plain data."""
    return {
        "study": facts.study,
        "timed_and_trained": forms_data(facts),
        "detector": facts.detector,
        "entries": facts.front.to_json(),
        "pruned": pruned_data(facts.pruned),
        "confirmations": [each.to_json() for each in facts.confirmations],
    }


def forms_data(facts: StudyFacts) -> dict[str, Any] | None:
    """Give what is timed and what is trained as plain data; None if it is not known."""
    found = facts.timed_and_trained
    return None if found is None else {**found.to_json(), "is_proxy": found.is_proxy}


def study_notes(facts: StudyFacts) -> list[str]:
    """Say how the figures of the front came about, one fact a line."""
    return [
        *([facts.describe_forms()] if facts.records else []),
        *front_notes(facts.front, facts.certificate),
        *_beliefs(facts),
        *(each.describe() for each in facts.pruned),
        *confirmation_lines(list(facts.confirmations)),
    ]


def studies_table(found: Sequence[StudySummary]) -> RenderableType:
    """Make the table of a database's studies, the oldest first."""
    table = plain_table(
        "study", "targets", "budget", "finished", "highest score", "began (UTC)", wrapped=(1, 2)
    )
    for each in found:
        table.add_row(
            each.name,
            ", ".join(each.targets),
            ", ".join(each.budget) or "none",
            str(each.finished),
            _best(each),
            "–" if each.began is None else f"{each.began:%Y-%m-%d %H:%M}",
        )
    return table


def studies_notes(found: Sequence[StudySummary]) -> list[str]:
    """Say which studies cannot be read, and which have found nothing yet."""
    notes = [each.fault for each in found if each.fault]
    empty = [each.name for each in found if not each.finished and not each.fault]
    if empty:
        notes.append(f"no finished trial yet: {', '.join(empty)}; the same search goes on")
    return notes


def _best(study: StudySummary) -> str:
    if study.best is None:
        return "–"
    return f"{study.best.name} {study.best.describe()}" + " (proxy)" * study.is_proxy


def studies_data(found: Sequence[StudySummary]) -> list[dict[str, Any]]:
    """Return the studies of a database as plain data."""
    return [
        {
            "study": each.name,
            "targets": list(each.targets),
            "budget": list(each.budget),
            "finished": each.finished,
            "best_accuracy": _best_share(each),
            "best": None if each.best is None else each.best.value,
            "best_is": None if each.best is None else each.best.name,
            "best_is_of_a_proxy": each.is_proxy,
            "began": None if each.began is None else each.began.isoformat(),
            **({"fault": each.fault} if each.fault else {}),
        }
        for each in found
    ]


def _best_share(study: StudySummary) -> float | None:
    """Return the best accuracy of a study; None if there is none, or it has an error instead."""
    best = study.best
    return None if best is None or best.facts.is_error else best.value


def study_table(facts: StudyFacts) -> RenderableType:
    """The question and the progress of a study."""
    from nas_sv2.studies.report.words import question_of

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
    trials, records = counted(found.trials, "trial"), counted(found.records, "record")
    files = counted(len(found.artifacts), "attached file")
    return [
        f"{found.name}: removed {trials} and {records}",
        *([f"removed {found.weights}"] if found.weights else []),
        *([f"removed {files}"] if found.artifacts else []),
        "its measurements and its candidates' trainings stay: other studies use them",
    ]


def leftovers_lines(found: Leftovers) -> list[str]:
    """Describe the leftovers of deleted studies."""
    records = counted(found.records, "record")
    studies = counted(len(found.keys), "deleted study", "deleted studies")
    lines = [f"{records} of {studies}"] if found.keys else []
    lines += [f"weights and checkpoints in {path}" for path in found.weights]
    lines += [counted(len(found.artifacts), "attached file")] if found.artifacts else []
    return lines


def damage_lines(found: Damage) -> list[str]:
    """Say which trials have values that are not numbers, and how many measurements are damaged."""
    lines = [
        f"trial {each.number} of study {each.study} has a value that is not a number"
        for each in found.trials
    ]
    count = len(found.measurements)
    return lines + ([f"damaged measurements: {count}"] if count else [])


def leftovers_data(found: Leftovers) -> dict[str, object]:
    """Give the leftovers of deleted studies as plain data."""
    return {
        "keys": list(found.keys),
        "records": found.records,
        "weights": [str(path) for path in found.weights],
        "artifacts": [str(path) for path in found.artifacts],
        "size_bytes": found.size_bytes,
    }


def _progress(facts: StudyFacts) -> list[tuple[str, str]]:
    trials = ", ".join(f"{count} {state}" for state, count in facts.progress.items())
    rows = [("trials", trials or "none yet")]
    if facts.best is not None:
        best = facts.records[facts.best]
        name = best.baseline or best.architecture.digest[:8]
        of = " of a proxy" if facts.is_proxy else ""
        rows.append(("best", f"trial {facts.best}: {name}, {best.evaluation.describe()}{of}"))
    return rows


def confirmation_table(found: Confirmation) -> RenderableType:
    """Make a table of test scores by seed and of latencies in the common session.

    Top-1 has a column too if the networks have one and are not compared by it.
    """
    targets, facts = list(found.networks[0].latencies), found.facts
    uneven = found.uneven and found.scored_by != "balanced_accuracy"
    balanced = ("balanced",) if uneven else ()
    beside = found.scored_by != "accuracy" and found.networks[0].accuracy is not None
    plain = ("top-1",) if beside else ()
    times = (f"{target} ms" for target in targets)
    exact = ("float32",) if found.in_int8 else ()
    top = f"test {facts.name}" + (", int8" if found.in_int8 else "")
    table = plain_table("trial", "network", top, "by seed", *exact, *plain, *balanced, *times)
    for network in found.networks:
        table.add_row(
            "–" if network.trial is None else str(network.trial),
            network.name,
            facts.value(network.score),
            " ".join(facts.value(score).removesuffix("%") for score in network.scores),
            *(
                "–" if network.float_score is None else facts.value(network.float_score)
                for _ in exact
            ),
            *([_percent(network.accuracy)] if beside else []),
            *([_percent(network.balanced_accuracy)] if uneven else []),
            *(
                f"{network.latencies[target].ms:.3f}"
                + ("*" if network.latencies[target].contended else "")
                for target in targets
            ),
        )
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def confirmation_notes(found: Confirmation) -> list[str]:
    """Return the findings and the method, one fact a line."""
    rules = {
        f"{target}: {gain.rule}"
        for finding in found.findings
        for target, gain in finding.latency.items()
    }
    rows = [
        (network.name, target, latency)
        for network in found.networks
        for target, latency in network.latencies.items()
    ]
    return [
        *(found.describe(finding) for finding in found.findings),
        *(line for finding in found.findings for line in found.describe_family(finding)),
        *([found.describe_majority()] if found.uneven else []),
        *filter(None, [found.describe_unlearnt()]),
        found.method,
        f"trained on {describe_place(found.place)}",
        *sorted(rules),
        *latency_notes(rows),
    ]


def confirmation_data(facts: StudyFacts, found: Confirmation) -> dict[str, Any]:
    """Return the confirmation as plain data."""
    return {
        "study": facts.study,
        "timed_and_trained": forms_data(facts),
        **found.to_json(),
        "findings": [
            _finding(found, finding, plain)
            for finding, plain in zip(found.findings, found.to_json()["findings"], strict=True)
        ],
        "method": found.method,
    }


def _finding(found: Confirmation, finding: Finding, plain: dict[str, Any]) -> dict[str, Any]:
    plain["score"]["mean"] = finding.score.mean
    for target, gain in finding.family.items():
        plain["family"][target]["mean"] = gain.mean
    return {
        **plain,
        "claim": finding.claim,
        "text": found.describe(finding),
        "family_text": found.describe_family(finding),
    }


def moves_table(comparison: ReplayComparison) -> RenderableType:
    """Make a table of every network on both targets, the fastest on the new one first.

    If the study compares by another score than the figure, that score has a column.
    The factor is the new latency over the old one; "of typical" is the factor over the median
    factor.
    """
    old, new = comparison.old_target, comparison.target
    score = comparison.scored_by
    facts = facts_of(score)
    figure = comparison.moves[0].after.evaluation.figure
    compared = () if score == figure.by else (facts.name,)
    times = (f"{old} ms", f"{new} ms", "factor", "of typical", "front")
    table = plain_table("trial", "network", figure.name, *compared, *times)
    for move in sorted(comparison.moves, key=comparison.new_ms):
        record = move.after
        table.add_row(
            str(move.number),
            record.baseline or record.architecture.digest[:8],
            record.evaluation.figure.describe(),
            *(facts.value(record.evaluation.score) for _ in compared),
            _ms(move.before.latencies[old]),
            _ms(record.latencies[new]),
            f"{comparison.factor(move):.3f}",
            f"{comparison.factor(move) / comparison.typical:.3f}",
            move.change,
            style="dim" if not move.change else None,
        )
    return table


def moves_notes(found: "Replayed") -> list[str]:
    """Return the changes, their reasons and the agreement of the orders, one fact a line."""
    comparison = found.comparison
    stay = sum(move.change == "stays" for move in comparison.moves)
    came, went = (
        sum(move.change == change for move in comparison.moves) for change in ("enters", "leaves")
    )
    expected = " by expected scores" if comparison.expected else ""
    return [
        f"front{expected}: {stay} stay, {came} enter, {went} leave; the typical network takes "
        f"{comparison.typical:.3f} times as long on {comparison.target} as on "
        f"{comparison.old_target}",
        *found.reasons,
        _agreement(comparison),
        *found.notes,
    ]


def replay_data(found: "Replayed") -> dict[str, Any]:
    """Return the replay as plain data, with the new front."""
    comparison = found.comparison
    return {
        "study": found.study,
        "entries": found.front.to_json(),
        "old_target": comparison.old_target,
        "target": comparison.target,
        "typical_factor": comparison.typical,
        "kendall": _estimate(comparison.tau),
        "spearman": _estimate(comparison.rho),
        "networks": [_move(comparison, move) for move in comparison.moves],
        "reasons": list(found.reasons),
        "notes": list(found.notes),
    }


def _agreement(comparison: ReplayComparison) -> str:
    tau, rho = comparison.tau, comparison.rho
    if tau is None or rho is None:
        few = counted(len(comparison.moves), "network")
        return f"no rank correlation of {few}: that is too few"
    return (
        f"order by latency on {comparison.old_target} against {comparison.target}, "
        f"{len(comparison.moves)} networks: Kendall's τ {tau}, Spearman's ρ {rho}"
        + ("" if tau.low is None else "; 95 % by resampling the networks")
    )


def _move(comparison: ReplayComparison, move: Move) -> dict[str, Any]:
    return {
        "trial": move.number,
        "digest": move.after.architecture.digest,
        "baseline": move.after.baseline,
        "accuracy": move.after.evaluation.accuracy,
        "mean_ap": move.after.evaluation.mean_ap,
        "mae": move.after.evaluation.mae,
        "scored_by": move.after.evaluation.scored_by,
        "score": move.after.evaluation.score,
        "old_ms": comparison.old_ms(move),
        "ms": comparison.new_ms(move),
        "factor": comparison.factor(move),
        "was_on_front": move.was_on,
        "on_front": move.is_on,
        "change": move.change or None,
    }


def _estimate(found: Estimate | None) -> dict[str, float | None] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _ms(latency: Latency) -> str:
    return f"{latency.ms:.2f}" + ("*" if latency.contended else "")
