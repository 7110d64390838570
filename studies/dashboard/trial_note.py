"""The dashboard's notes on a study and its trials, as Markdown.

Every number is given with its origin: a latency with provenance and device, an accuracy with
recipe and seed. Names from users and files are escaped.
"""

import shlex
from collections.abc import Mapping, Sequence

from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.studies.findings.attributes import DUPLICATE, ERROR, REJECTED
from nas_sv2.studies.findings.certificate import UNCERTIFIED, Certificate
from nas_sv2.studies.findings.front import Entry
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.pages.markdown import code, escaped, table
from nas_sv2.studies.storage.study import Identity


def trial_note(study: str, storage: str, entry: Entry, certificate: Certificate | None) -> str:
    """Return the note on a candidate that was trained and timed.

    Args:
        study: Name of the study.
        storage: Address of the database, without a password.
        entry: Candidate.
        certificate: Certificate of its recipe and data, if there is one.
    """
    record = entry.record
    name = record.baseline or record.architecture.digest
    notes = [f"{target}: {value.note}" for target, value in record.latencies.items() if value.note]
    trust = UNCERTIFIED if certificate is None else certificate.describe()
    return _joined(
        [f"**{escaped(name)}**: {escaped(_standing(entry))}"],
        ["### Network"],
        table(("", ""), *_network(record)),
        ["### Latency"],
        table(
            ("on", "ms", "95 % interval", "p95", "provenance", "device"),
            *(_latency(target, value) for target, value in record.latencies.items()),
        ),
        [f"- {escaped(note)}" for note in notes],
        ["### Accuracy"],
        table(("", ""), *_accuracy(record)),
        [f"The recipe is {escaped(trust)}. Full training gives other accuracies."],
        _limits(record.excesses),
        ["### Take it"],
        [code(f"nas-sv2 export {_named(study, storage)} --trial {entry.number} --out winner")],
    )


def turned_away_note(attributes: Mapping[str, object], excesses: Mapping[str, float]) -> str:
    """Return the note on a trial without results of its own; empty if the reason is unknown.

    Args:
        attributes: User attributes of the trial.
        excesses: Excess over each limit, as a share of the limit.
    """
    if DUPLICATE in attributes:
        return f"The network of trial {escaped(attributes[DUPLICATE])}; nothing was run again."
    if ERROR in attributes:
        return f"Failed: {escaped(attributes[ERROR])}"
    if REJECTED in attributes:
        said = f"Turned away before it was trained: {escaped(attributes[REJECTED])}"
        return _joined([said], _limits(excesses))
    return ""


def study_note(
    study: str,
    storage: str,
    identity: Identity,
    count: int,
    certificate: Certificate | None,
    command: str | None = None,
) -> str:
    """Return the note on a study: space, targets, data and recipe, and the commands to continue.

    Args:
        study: Name of the study.
        storage: Address of the database, without a password.
        identity: Identity of the study, which all its trials share.
        count: Number of candidates that were trained and timed.
        certificate: Certificate of recipe and data, if there is one.
        command: Last command that searched the study; None if it was not recorded.
    """
    targets = identity["targets"].items()
    recipe, data = identity.get("recipe", "not known"), identity.get("data_content", "not known")
    trust = UNCERTIFIED if certificate is None else certificate.describe()
    rows = {
        "space": identity.get("space", "not known"),
        "targets": ", ".join(f"{name} ({provenance})" for name, provenance in targets),
        "data": data,
        "recipe": f"{recipe}, seed {identity.get('seed', 'not known')}; {trust}",
        "finished": f"{count} candidates, baselines among them",
    }
    return _joined(
        ["Best trials keep every limit, and no trial dominates them. Each trial has a note."],
        table(("study", study), *rows.items()),
        ["### The front again, and the search"],
        [code(f"nas-sv2 front {_named(study, storage)}")],
        [code(command)] if command else [],
    )


def _standing(entry: Entry) -> str:
    """Describe in a few words whether a candidate is on the front, and if not, why."""
    if entry.on_front:
        return "on the front"
    beyond = [name for name, excess in entry.record.excesses.items() if excess > 0]
    return f"beyond {', '.join(beyond)}" if beyond else f"beaten by trial {entry.beaten_by}"


def _network(record: Record) -> Sequence[tuple[object, ...]]:
    cost, architecture = record.cost, record.architecture
    side = architecture.resolution
    return [
        ("digest", architecture.digest),
        ("input", f"{architecture.channels} × {side} × {side}"),
        ("multiply-adds", f"{cost.flops / 1e6:.1f} M"),
        ("params", f"{cost.params / 1e6:.2f} M"),
        ("memory access", f"{cost.memory_access_bytes / 1e6:.1f} MB (unfused, float32)"),
    ]


def _latency(target: str, latency: Latency) -> tuple[object, ...]:
    interval = "–" if latency.ci_ms is None else "{:.3f} to {:.3f}".format(*latency.ci_ms)
    p95 = "–" if latency.p95_ms is None else f"{latency.p95_ms:.3f}"
    return target, f"{latency.ms:.3f}", interval, p95, latency.provenance, latency.device


def _accuracy(record: Record) -> Sequence[tuple[object, ...]]:
    evaluation = record.evaluation
    rows: list[tuple[object, ...]] = [
        ("top-1", f"{evaluation.accuracy:.2%} of {evaluation.val_images:,} validation images"),
        ("cross-entropy", f"{evaluation.describe_loss()} nats"),
        ("recipe", f"{evaluation.recipe}, seed {evaluation.seed}, passes {evaluation.epochs}"),
        ("data", evaluation.data),
    ]
    if evaluation.scored_by != "accuracy":
        rows.insert(0, ("compared by", f"{evaluation.scored_by}: {evaluation.score:.4f}"))
    if evaluation.spread is not None:
        rows.append(("seeds", f"{len(evaluation.scores)}, deviation {evaluation.spread:.4f}"))
    if evaluation.stopped:
        rows.append(("stopped", evaluation.stopped))
    return rows


def _limits(excesses: Mapping[str, float]) -> list[str]:
    """Return a table of the limits and the candidate's excesses; nothing without limits."""
    if not excesses:
        return []
    rows = ((name, f"{excess:+.1%}", _verdict(excess)) for name, excess in excesses.items())
    return ["### Limits", "", *table(("", "beyond it", ""), *rows)]


def _verdict(excess: float) -> str:
    return "broken" if excess > 0 else "kept"


def _named(study: str, storage: str) -> str:
    return f"{shlex.quote(study)} --storage {shlex.quote(storage)}"


def _joined(*parts: Sequence[str]) -> str:
    return "\n\n".join("\n".join(part) for part in parts if part)
