"""Writes a fully trained network as a package: its checked forms, and a card on its training."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from nas_sv2.counts import counted
from nas_sv2.errors import StoreError
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.fitting.evaluation import describe_place
from nas_sv2.evaluate.fitting.validation import Validation
from nas_sv2.evaluate.full.result import FullyTrained, LossFromFloat
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.full.training_log import pass_rows
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.package.card import (
    CARD,
    CARD_JSON,
    classes_section,
    document_of,
    files_section,
    forms_section,
    grey_levels,
    input_of,
    json_of,
    labels_row,
    latency_section,
    output_of,
    page,
    teacher_rows,
)
from nas_sv2.studies.package.folder import SUMS, write_folder
from nas_sv2.studies.package.forms import (
    MODEL_INT8,
    Checked,
    TrainedNetwork,
    notify_of_slow_forms,
)
from nas_sv2.studies.pages.markdown import escaped, table

NOT_TIMED = "None was measured: `nas-sv2 measure architecture.yaml --target TARGET`."


def write_full_package(
    run: FullRun, trained: FullyTrained, name: str, formats: Collection[str]
) -> dict[str, Any]:
    """Write the result of a full training into its folder, `SHA256SUMS` last.

    Args:
        run: Training.
        trained: Result of the training.
        name: User's name of the network.
        formats: Formats of the models, of `FORMATS`.

    Returns:
        The content of `card.json`.

    Raises:
        StoreError: If a float32 form disagrees with the network, or a file cannot be written.
    """
    sample = DataSample.of(run.data)
    winner = TrainedNetwork.of(
        trained.network,
        trained.network,
        trained.weights,
        trained.normalise,
        sample,
        run.subset.val,
    )
    if trained.int8 is not None:
        winner = dataclasses.replace(winner, ranges=trained.int8.ranges)
    notify_of_slow_forms(winner.trained, formats, run.notify)
    files, checked, no_int8 = _forms(winner, formats)
    document = {
        **document_of(name, winner, sample, run.recipe, run.seed, checked, [], no_int8),
        **_training_of(run, trained),
    }
    card = full_card(document, [*files, CARD_JSON, SUMS])
    write_folder(run.out, {**files, CARD_JSON: json_of(document), CARD: card.encode()})
    return document


def _forms(
    winner: TrainedNetwork, formats: Collection[str]
) -> tuple[dict[str, bytes], Checked, str]:
    """Return the files, their checks, and the reason for missing int8 forms, else empty.

    If an int8 form fails, they are left out, so that days of training are not lost.
    """
    files = winner.files(formats=formats)
    try:
        return files, winner.checked(files), winner.no_int8
    except StoreError as error:
        files = winner.files(int8=False, formats=formats)
        return files, winner.checked(files), str(error).partition(";")[0]


def _training_of(run: FullRun, trained: FullyTrained) -> dict[str, Any]:
    full = run.recipe.full_training
    began = {} if run.start is None else {"start": run.start.describe(lower(trained.network))}
    return {
        **began,
        **({} if trained.int8 is None else {"int8_training": dataclasses.asdict(trained.int8)}),
        "validation": dataclasses.asdict(trained.validation),
        "test": None if trained.test is None else dataclasses.asdict(trained.test),
        "device": trained.place,
        "processes": run.processes.count,
        "seconds": round(trained.seconds, 3),
        "averaged": full is not None and full.ema,
        "passes": pass_rows(trained.passes, run.processes.count),
    }


def full_card(document: Mapping[str, Any], files: Iterable[str]) -> str:
    """Return the text of `card.md` for a full training, which follows from `card.json` alone.

    Args:
        document: Content of `card.json`.
        files: Names of the package's other files.
    """
    recipe, passes = document["recipe"], document["passes"]
    rows = {
        "validation": _found(document["validation"], recipe["score"]),
        "test": _found(document["test"], recipe["score"]),
        "recipe": f"{recipe['name']} ({document['recipe_digest']}), seed {document['seed']}, "
        f"{counted(len(passes), 'pass', 'passes')}, {counted(passes[-1]['step'], 'step')}",
        "data": document["data"],
        "trained on": f"{describe_place(document['device'])}, {document['seconds']:,.0f} s",
        **teacher_rows(document),
        **_start(document.get("start")),
        **_int8(document.get("int8_training"), document["forms"]),
        "weights": "their moving average" if document["averaged"] else "the last",
        "digest": document["digest"],
        "multiply-adds": f"{document['flops'] / 1e6:.1f} M",
        "params": f"{document['params']:,}",
        "input": input_of(document["input"]),
        "grey levels": grey_levels(document["input"]),
        "output": output_of(document),
        **dict([labels_row(document)]),
    }
    return page(
        [f"# {escaped(document['network'])}"],
        table(("", ""), *rows.items()),
        ["One training with one seed; another seed gives another figure."],
        *forms_section(document),
        *classes_section(document),
        *latency_section(document, NOT_TIMED),
        *files_section(document, files),
    )


def _start(start: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the rows on weights that a training started from; none if they were fresh."""
    if start is None:
        return {}
    rows = {}
    if start["weights"]:
        taken = f"{start['taken']} of {start['of']} weights taken"
        rows["started from"] = f"{start['weights']} ({start['digest']}): {taken}"
    if start["frozen"]:
        rows["frozen"] = ", ".join(start["frozen"])
    if start["rates"]:
        rows["rates"] = ", ".join(f"{part} × {rate:g}" for part, rate in start["rates"].items())
    return rows


def _int8(found: Mapping[str, Any] | None, forms: Collection[str]) -> dict[str, str]:
    """Return the rows on a training with the rounding of int8; none if there was none."""
    if found is None:
        return {}
    kept = f"; {MODEL_INT8} has the learned ranges, other formats their own"
    return {
        "trained in": "simulated int8; validation and test are of it, weights are the float32 "
        "ones behind it" + kept * (MODEL_INT8 in forms),
        "int8 beside float32": "; ".join(int8_lines(found)),
    }


def int8_lines(found: Mapping[str, Any]) -> list[str]:
    """Describe a training with the rounding of int8, beside its start.

    Args:
        found: `Int8Result` as plain data.
    """
    static, trained = (LossFromFloat(**found[name]) for name in ("static", "trained"))
    images, gain = f"{found['images']:,} validation images", LossFromFloat(**found["gain"])
    harm = "the training did harm to int8: a lower learning_rate lets the ranges follow"
    return [
        f"float32 before: top-1 {found['float32']:.2%} of {images}",
        f"static int8 before: {static.accuracy:.2%}, {static.describe()} from float32",
        f"int8 as trained: {trained.accuracy:.2%}, {trained.describe()} from float32, "
        f"{gain.describe()} from static int8; paired over the images",
        *([harm] if gain.high < 0 else []),
    ]


def _found(found: Mapping[str, Any] | None, score: str) -> str:
    if found is None:
        return "–, the data have no such part"
    found_on = Validation(**found)
    return f"{found_on.describe(score)} ({found_on.images:,} images)"
