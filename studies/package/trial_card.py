"""The card of a trial: what every card says, and what the study found of the network."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nas_sv2.studies.findings.certificate import UNCERTIFIED, Certificate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.package.card import (
    figures,
    files_section,
    forms_section,
    grey_levels,
    input_of,
    latency_section,
    page,
)
from nas_sv2.studies.pages.markdown import code, escaped, table

NOT_ASKED = "Not asked for (`--no-latency`)."


def trial_document(
    document: dict[str, Any],
    study: str,
    number: int,
    record: Record,
    identity: Mapping[str, Any],
    certificate: Certificate | None,
    confirmed: Sequence[str] = (),
) -> dict[str, Any]:
    """`document` with what a study found of the network, and a confirmation's lines on it."""
    found = {
        "name": study,
        "trial": number,
        "space": str(identity["space"]),
        "excesses": dict(record.excesses),
        "latencies": {name: value.to_json() for name, value in record.latencies.items()},
        "accuracy": record.evaluation.accuracy,
        "loss": record.evaluation.loss,
        "val_images": record.evaluation.val_images,
        "device": record.evaluation.device,
        "recipe_is": UNCERTIFIED if certificate is None else certificate.describe(),
        "full_size": {"flops": record.cost.flops, "params": record.cost.params},
        "confirmed": list(confirmed),
        "record": json.loads(record.to_json()),
    }
    return {**document, "study": found}


def record_in(document: Mapping[str, Any]) -> Record:
    """What the study found of the trial.

    Raises:
        StoreError: It is no record.
    """
    return Record.from_json(json.dumps(document["study"]["record"]))


def trial_card(document: Mapping[str, Any], files: Iterable[str]) -> str:
    """`card.md` of a trial: it follows from `card.json` alone, so that `verify` can make it anew.

    Args:
        document: As `trial_document` gives it.
        files: Names of the files beside it.

    Raises:
        StoreError: The record in it is none.
    """
    record = record_in(document)
    found, baseline = document["study"], record.baseline
    return page(
        [f"# {escaped(document['network'])}"],
        [
            f"Trial {found['trial']} of study {code(found['name'])}"
            + (f", the hand-designed network {escaped(baseline)}." if baseline else ".")
        ],
        ["## Network"],
        table(("", ""), *_network(document, record)),
        *forms_section(document),
        *latency_section(document, NOT_ASKED),
        ["In the study, at full size (`architecture.yaml`):"],
        table(
            ("target", "ms", "95 % interval", "p95", "provenance", "on"),
            *(
                (target, *figures(value), value.provenance, value.device)
                for target, value in record.latencies.items()
            ),
        ),
        [f"- {escaped(value.note)}" for value in record.latencies.values() if value.note],
        ["## Accuracy in the study"],
        table(("", ""), *_accuracy(record)),
        [
            f"The recipe is {escaped(found['recipe_is'])}. "
            "The figure is no estimate of the accuracy after full training."
        ],
        ["## Confirmation"],
        [f"- {escaped(line)}" for line in found["confirmed"]] or ["None (`nas-sv2 confirm`)."],
        ["## Limits of the study"],
        table(
            ("limit", "used beyond it"),
            ("space", found["space"]),
            *((name, f"{excess:+.1%}") for name, excess in record.excesses.items()),
        ),
        ["Negative is inside a limit."],
        *files_section(document, files),
    )


def _network(document: Mapping[str, Any], record: Record) -> Sequence[tuple[object, ...]]:
    cost, side = record.cost, record.architecture.resolution
    taken = document["input"]
    return [
        ("digest", record.architecture.digest),
        ("input", f"{record.architecture.channels} × {side} × {side}"),
        ("multiply-adds", f"{cost.flops / 1e6:.1f} M"),
        ("params", f"{cost.params:,}"),
        ("memory access", f"{cost.memory_access_bytes / 1e6:.1f} MB (unfused, float32)"),
        ("trained with input", input_of(taken)),
        ("trained form", f"{document['flops'] / 1e6:.1f} M, {document['params']:,} params"),
        ("grey levels", grey_levels(taken)),
    ]


def _accuracy(record: Record) -> Sequence[tuple[object, ...]]:
    evaluation, spread = record.evaluation, record.evaluation.spread
    stopped = f", stopped: {evaluation.stopped}" if evaluation.stopped else ""
    rows = [
        ("top-1", f"{evaluation.accuracy:.2%} of {evaluation.val_images:,} validation images"),
        ("cross-entropy", f"{evaluation.loss:.4f} nats"),
    ]
    if spread is not None:
        between = (
            f"means of {len(evaluation.scores)} trainings; standard deviation of the "
            f"{evaluation.scored_by} between them {spread:.4f}; the weights are the first's"
        )
        rows.append(("seeds", between))
    if evaluation.scored_by != "accuracy":
        score = f"{evaluation.scored_by}: {evaluation.score:.4f}, higher is better"
        rows.append(("compared by", score))
    recipe = (
        f"{evaluation.recipe} ({evaluation.recipe_digest}), seed {evaluation.seed}, "
        f"{evaluation.epochs} epochs, {evaluation.train_images:,} image passes{stopped}"
    )
    rows += [
        ("recipe", recipe),
        ("data", evaluation.data),
        ("trained on", evaluation.device),
    ]
    return rows
