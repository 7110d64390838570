"""The card of an exported network: its description, and the origin and limits of each number.

`card.json` holds the numbers, and `card.md` is a page to read. Both are made from one document.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nas_sv2.counts import counted
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.fitting.evaluation import FIGURES, Figure, describe_place, is_uneven
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import LabelKind, facts_of, kind_in
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.resolution import height_and_width, in_pixels
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Shuffle
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import LEAST_WEIGHT, count_flushed, random_weights
from nas_sv2.studies.estimates.study_estimates import StudyEstimates
from nas_sv2.studies.findings.certificate import UNCERTIFIED, Certificate
from nas_sv2.studies.findings.fused_estimate import FusedEstimate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.timed_and_trained import Form, TimedAndTrained
from nas_sv2.studies.package.file_latency import FileLatency
from nas_sv2.studies.package.forms import (
    ARCHITECTURE,
    MODEL,
    MODEL_INT8,
    MODEL_NCNN,
    MODEL_NCNN_INT8,
    MODEL_TFLITE,
    MODEL_TFLITE_INT8,
    SOURCE,
    TIMING,
    TIMING_INT8,
    TIMING_NCNN,
    TIMING_NCNN_INT8,
    TIMING_TFLITE,
    TIMING_TFLITE_INT8,
    TORCH,
    TRAINED,
    WEIGHTS,
    Checked,
    TrainedNetwork,
    ncnn_weights_of,
)
from nas_sv2.studies.pages.markdown import capital, code, escaped, table
from nas_sv2.studies.storage.runs import versions_here

CARD, CARD_JSON = "card.md", "card.json"
SCHEMA_KEY, SCHEMA_VERSION = "nas_sv2_card", 1
PAGE_KEY, PAGE = "page", 7
"""Version of `card.json` and of the text of `card.md`, raised whenever one changes, so that
`verify` does not compare pages of an older version."""
BATCHES = "several images at once need onnxruntime 1.14, as 1.12 and 1.13 may compute them wrongly"
SHOWN_CLASSES = 20
"""Class names on the page; `card.json` has all."""


def document_of(
    name: str,
    winner: TrainedNetwork,
    data: DataSample,
    recipe: Recipe,
    seed: int,
    checked: Checked,
    latencies: Sequence[FileLatency],
    no_int8: str = "",
) -> dict[str, Any]:
    """Return the content of every card, as plain data.

    Args:
        name: User's name of the network.
        winner: Network and its data.
        data: Part of the data of the training.
        recipe: Recipe of the training.
        seed: Seed of the training.
        checked: Agreement of the forms.
        latencies: Latencies of the files; empty if none were asked for.
        no_int8: Reason for a missing int8 form; empty if there is one.
    """
    cost, trained = cost_of(lower(winner.trained)), winner.trained
    graph = lower(trained)
    return {
        SCHEMA_KEY: SCHEMA_VERSION,
        PAGE_KEY: PAGE,
        "network": name,
        "digest": winner.found.digest,
        "trained_digest": trained.digest,
        "flops": cost.flops,
        "params": cost.params,
        "input": {
            "channels": trained.channels,
            "side": trained.resolution,
            "centre_of": data.resolution,
            "fit": data.fit,
            "mean": winner.normalise.mean.tolist(),
            "deviation": winner.normalise.deviation.tolist(),
        },
        "class_names": None if winner.class_names is None else list(winner.class_names),
        "several_labels": winner.kind == "labels",
        "number": winner.kind == "numbers",
        "shuffles": count_shuffles(trained),
        "set_to_zero": count_flushed(graph, winner.weights),
        "data": data.provenance,
        "recipe": recipe_to_document(recipe),
        "recipe_digest": recipe.digest,
        "seed": seed,
        "calibration_images": len(winner.calibration),
        "by_class": checked.images[TORCH].by_class,
        "forms": {name: each.to_json() for name, each in checked.images.items()},
        "forms_on_noise": {name: each.to_json() for name, each in checked.noise.items()},
        "tflite_scales": dict(checked.tflite_scales),
        "no_int8": no_int8,
        "latency": [row.to_json() for row in latencies],
        "made_with": {name.lower(): found for name, found in versions_here().items()},
    }


def count_shuffles(network: Classifier) -> list[int]:
    """Return the number of channel shuffles of the network, and of its ONNX model."""
    graph = lower(network)
    model, _ = without_shuffles(graph, random_weights(graph, seed=0))
    return [sum(isinstance(op.kind, Shuffle) for op in each.ops) for each in (graph, model)]


def json_of(document: Mapping[str, Any]) -> bytes:
    """Return the text of `card.json`."""
    return json.dumps(document, indent=1, allow_nan=False).encode()


def page(*parts: Sequence[str]) -> str:
    """Join paragraphs and tables into one text."""
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def figure_of(document: Mapping[str, Any]) -> str:
    """Return the name of the figure of a card."""
    return facts_of(FIGURES[kind_in(document)]).name


def output_of(document: Mapping[str, Any]) -> str:
    """Say what every form of the network gives."""
    kind = kind_in(document)
    if kind == "numbers":
        return "one number, in the unit of the labels"
    if kind == "labels":
        return "logits, one a label; the sigmoid of each is the probability of its label"
    return "logits, one a class; their softmax is the probability of each class"


def forms_section(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the section on the agreement and accuracy of the forms."""
    forms: Mapping[str, Mapping[str, Any]] = document["forms"]
    kind = kind_in(document)
    alike, held = _ALIKE.get(kind, ("", ""))
    rows = [
        (
            name,
            "–" if (figure := Figure.find(form)) is None else figure.describe(),
            "" if name == TORCH else f"{form['difference']:.1e} ({form['relative']:.1e})",
            *(["" if name == TORCH else f"{form[held]:.2%}"] if held else []),
        )
        for name, form in forms.items()
    ]
    differ = "logits differ by (of the largest)"
    if kind == "numbers":
        differ = "answers differ by (of their range)"
    head = ("form", figure_of(document), differ, *([alike] if alike else []))
    said = _images_in_words(document) + _int8_in_words(document)
    if document["set_to_zero"]:
        said += (
            f" In every file, {counted(document['set_to_zero'], 'weight')} closer to 0 than "
            f"{LEAST_WEIGHT:g} became 0: processors are slow with so small numbers."
        )
    if document["no_int8"]:
        said += f" There is no int8 form: {escaped(document['no_int8'])}."
    return [["## Forms, checked at export"], table(head, *rows), [said]]


_ALIKE: Mapping[LabelKind, tuple[str, str]] = {
    "classes": ("same class first", "same"),
    "labels": ("labels alike, yes from a probability of ½", "same_labels"),
}
"""The heading of the share of equal answers, and its name in a form; numbers have none."""


def _images_in_words(document: Mapping[str, Any]) -> str:
    """Say on which images the forms were compared."""
    forms: Mapping[str, Mapping[str, Any]] = document["forms"]
    images, known = forms[TORCH]["images"], Figure.find(forms[TORCH]) is not None
    said = (
        f"Every form was asked about the same {images:,} {'validation' if known else 'training'} "
        "images and held against the network as torch runs it in nas-sv2."
    )
    if not known:
        said += (
            " The search kept these images: at the export the data had changed or were missing, "
            f"so {figure_of(document)} was not measured again."
        )
    return said


INT8_NAMES = {
    MODEL_INT8: "int8",
    MODEL_TFLITE_INT8: "LiteRT's int8",
    MODEL_NCNN_INT8: "ncnn's int8",
}
"""What a card calls the int8 of each file."""


def _int8_in_words(document: Mapping[str, Any]) -> str:
    """Say how int8 was made, and what it costs if that is known."""
    forms: Mapping[str, Mapping[str, Any]] = document["forms"]
    images = f"ranges from {document['calibration_images']} training images"
    said = ""
    for name, int8 in INT8_NAMES.items():
        learned = name == MODEL_INT8 and "int8_training" in document
        how = f"static, weights a channel, {'learned ranges' if learned else images}"
        if name in forms:
            before, now = (Figure.find(forms[each]) for each in (TORCH, name))
            if before is None or now is None:
                said += f" {int8} is {how}."
            else:
                said += f" {int8} ({how}) changes the {now.title} by {now.change_from(before)}."
    return said


def classes_section(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the section on the accuracy of each class; none in cards of older versions."""
    counts: Sequence[tuple[int, int]] = document.get("by_class") or ()
    if not counts:
        return []
    names = document["class_names"] or range(len(counts))
    found = [
        (right / images, images, str(name))
        for name, (images, right) in zip(names, counts, strict=True)
        if images
    ]
    if not found:
        return []
    balanced = statistics.fmean(recall for recall, _, _ in found)
    majority = max(images for images, _ in counts) / sum(images for images, _ in counts)
    said = f"Balanced accuracy, the mean over the classes: {balanced:.2%}."
    if is_uneven(majority, len(counts)):
        said += (
            f" The classes are uneven: {majority:.2%} of the images are of one class, so a "
            "network that always names it has that top-1."
        )
    if len(found) > SHOWN_CLASSES:
        said += f" These are the {SHOWN_CLASSES} worst of {len(found)}; card.json has all."
    rows = [(name, f"{images:,}", f"{recall:.2%}") for recall, images, name in sorted(found)]
    shown = table(("class", "validation images", "right"), *rows[:SHOWN_CLASSES])
    return [["## Classes"], shown, [said]]


def latency_section(document: Mapping[str, Any], why_none: str) -> list[list[str]]:
    """Return the section on the files' latencies, or `why_none` if there are none."""
    rows: Sequence[Mapping[str, Any]] = document["latency"]
    if not rows:
        return [["## Latency of the files"], [why_none]]
    cells = [_timed(row) for row in rows if row["latency"] is not None]
    head = ("file", "image", "target", "ms", "95 % interval", "p95", "× V2 1×", "provenance", "on")
    shown = table(head, *cells) if cells else []
    return [["## Latency of the files"], shown, _notes_on_files(rows)]


def _timed(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row that has a latency."""
    latency = Latency.from_json(row["latency"])
    ratio = "–" if latency.ratio is None else f"{latency.ratio:.3f}"
    name = (row["file"], in_pixels(row["side"], " × "), row["target"])
    return (*name, *figures(latency), ratio, latency.provenance, latency.device)


def _notes_on_files(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each note once for a target, after the names of all files that it is of."""
    files: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        for said in _said(row):
            where = "" if row["latency"] is None else f" on {row['target']}"
            files.setdefault((where, said), {})[row["file"]] = None
    lines = [f"{', '.join(names)}{where}: {said}" for (where, said), names in files.items()]
    return [f"- {escaped(line)}" for line in lines]


def _said(row: Mapping[str, Any]) -> list[str]:
    """Return the notes on a row."""
    if row["latency"] is None:
        return [f"no latency: {row['why']}"]
    said = [row["why"]] if row["why"] else []
    if row["against"] is not None:
        ratio, interval = row["against"]
        within = "" if interval is None else " ({:.3f} to {:.3f})".format(*interval)
        said.append(f"takes {ratio:.3f}{within} times as long as in float32")
    return said + [note for note in [row["latency"]["note"]] if note]


def files_section(document: Mapping[str, Any], files: Iterable[str]) -> list[list[str]]:
    """Return the section that describes each file and names the versions of the programs."""
    made = ", ".join(f"{name} {version}" for name, version in document["made_with"].items())
    there = set(files)
    said = FILES if TRAINED in there else {**FILES, ARCHITECTURE: _AS_TRAINED}
    known = [f"- `{name}`: {said[name]}" for name in said if name in there]
    total, left = document["shuffles"]
    shuffles = f"{left} of the network's {total} channel shuffles are left in the ONNX files. "
    return [
        ["## Files"],
        known,
        [f"{shuffles if total else ''}{capital(BATCHES)}. Made with {made}."],
    ]


_AS_TRAINED = "the network; `nas-sv2 network cost architecture.yaml`"
FILES = {
    ARCHITECTURE: "the network as it was found; `nas-sv2 network cost architecture.yaml`",
    TRAINED: "the form that was trained: input and classes of the data, stem of the recipe, and "
    "its share of the widths where it has a `width_factor`; all trained files are of this form",
    WEIGHTS: "the trained numbers",
    SOURCE: "the trained network in plain torch, without nas-sv2: `model.load()`",
    MODEL: "the trained network for onnxruntime and others, any batch; it holds the names of the "
    "classes, mean and deviation",
    MODEL_INT8: "the same in int8, for onnxruntime and OpenVINO",
    MODEL_TFLITE: "the trained network for LiteRT (TensorFlow Lite), one image, height × width × "
    "channels; its metadata `nas_sv2` holds what `model.onnx` holds",
    MODEL_TFLITE_INT8: "the same in LiteRT's int8; input and output stay float32",
    MODEL_NCNN: "the layers of the trained network for ncnn, one image, channels × height × width",
    ncnn_weights_of(MODEL_NCNN): "their numbers",
    MODEL_NCNN_INT8: "the same in ncnn's int8",
    ncnn_weights_of(MODEL_NCNN_INT8): "its numbers",
    TIMING: "the network of `architecture.yaml` with random weights: for timing on other devices; "
    "its outputs mean nothing",
    TIMING_INT8: "the same in int8",
    TIMING_TFLITE: "the same for LiteRT",
    TIMING_TFLITE_INT8: "the same in LiteRT's int8",
    TIMING_NCNN: "the same for ncnn",
    ncnn_weights_of(TIMING_NCNN): "its numbers",
    TIMING_NCNN_INT8: "the same in ncnn's int8",
    ncnn_weights_of(TIMING_NCNN_INT8): "its numbers",
    CARD_JSON: "the figures of this page, the whole recipe, the names of the classes",
    "SHA256SUMS": "what `nas-sv2 network verify`, `nas_sv2.load` and `sha256sum -c` check",
}
"""Description of each file that a package may have, except `card.md`."""


FITTED = {"pad": "padded", "stretch": "stretched"}


def input_of(taken: Mapping[str, Any]) -> str:
    """Describe the input of the trained form."""
    size, whole = taken["side"], taken["centre_of"]
    of = whole if isinstance(whole, int) else in_pixels(whole)
    cut = "" if whole == size else f", the centre of {of} pixels"
    shape = "squares" if isinstance(whole, int) else "that shape"
    fit = {name: f", pictures {done} to {shape}" for name, done in FITTED.items()}
    sides = in_pixels(size, " × ")
    return f"{taken['channels']} × {sides}{cut}{fit.get(taken.get('fit', ''), '')}"


def teacher_rows(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the row on the teacher of a training, by its name; none without a teacher."""
    teacher: Mapping[str, Any] | None = document["recipe"].get("teacher")
    if teacher is None:
        return {}
    high = "" if kind_in(document) == "numbers" else f"temperature {teacher['temperature']:g}, "
    how = f"{high}share {teacher['share']:g}"
    return {"teacher": f"{teacher['model']} ({teacher['digest']}), {how}"}


def labels_row(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the row that names the classes, the labels or the number."""
    heads = {"classes": "classes", "labels": "labels", "numbers": "number"}
    return heads[kind_in(document)], classes_of(document)


def classes_of(document: Mapping[str, Any]) -> str:
    """Name the classes in the order of the logits, or the first of them if they are many."""
    names: Sequence[str] | None = document["class_names"]
    if names is None:
        return "without names: the recipe drew some classes of the data"
    more = len(names) - SHOWN_CLASSES
    return ", ".join(names[:SHOWN_CLASSES]) + (f" and {more} more" if more > 0 else "")


def grey_levels(taken: Mapping[str, Any]) -> str:
    """Describe the normalisation of grey levels."""
    means = ", ".join(f"{each:.2f}" for each in taken["mean"])
    deviations = ", ".join(f"{each:.2f}" for each in taken["deviation"])
    return f"0 to 255, minus {means}, over {deviations}"


def figures(latency: Latency) -> tuple[str, str, str]:
    """Format median, 95 % interval and p95, in ms."""
    interval = "–" if latency.ci_ms is None else "{:.3f} to {:.3f}".format(*latency.ci_ms)
    p95 = "–" if latency.p95_ms is None else f"{latency.p95_ms:.3f}"
    return f"{latency.ms:.3f}", interval, p95


NOT_ASKED = "Not asked for (`--no-time`)."


def trial_document(
    document: dict[str, Any],
    study: str,
    number: int,
    record: Record,
    trained: Form,
    identity: Mapping[str, Any],
    certificate: Certificate | None,
    confirmed: Sequence[str] = (),
    estimates: StudyEstimates | None = None,
) -> dict[str, Any]:
    """Return `document` with the study's results on the network and the lines of confirmations."""
    found = {
        "name": study,
        "trial": number,
        "space": str(identity["space"]),
        "timed_and_trained": TimedAndTrained(Form.of(record.architecture), trained).to_json(),
        "excesses": dict(record.excesses),
        "latencies": {name: value.to_json() for name, value in record.latencies.items()},
        "accuracy": record.evaluation.accuracy,
        "mean_ap": record.evaluation.mean_ap,
        "mae": record.evaluation.mae,
        "float_accuracy": record.evaluation.float_accuracy,
        "balanced_accuracy": record.evaluation.balanced_accuracy,
        "loss": record.evaluation.loss,
        "val_images": record.evaluation.val_images,
        "device": record.evaluation.device,
        "recipe_is": UNCERTIFIED if certificate is None else certificate.describe(),
        "full_size": {"flops": record.cost.flops, "params": record.cost.params},
        "expected": None if estimates is None else estimates.by_trial[number].to_json(),
        "expected_is": "" if estimates is None else estimates.describe(),
        "confirmed": list(confirmed),
        "record": json.loads(record.to_json()),
    }
    return {**document, "study": found}


def record_in(document: Mapping[str, Any]) -> Record:
    """Read the study's record of the trial.

    Raises:
        StoreError: If the record cannot be read.
    """
    return Record.from_json(json.dumps(document["study"]["record"]))


def trial_card(document: Mapping[str, Any], files: Iterable[str]) -> str:
    """Return the text of `card.md` for a trial.

    It follows from `card.json` alone, so that `verify` can compare it.

    Args:
        document: Content of `card.json`, as `trial_document` returns it.
        files: Names of the package's other files.

    Raises:
        StoreError: If the record in the document cannot be read.
    """
    record, figure = record_in(document), facts_of(FIGURES[kind_in(document)])
    found, baseline = document["study"], record.baseline
    forms = TimedAndTrained.read(found["timed_and_trained"])
    return page(
        [f"# {escaped(document['network'])}"],
        [
            f"Trial {found['trial']} of study {code(found['name'])}"
            + (f", the hand-designed network {escaped(baseline)}." if baseline else ".")
        ],
        ["## Network"],
        table(("", ""), *_network(document, record), ("in the study", forms.describe(figure))),
        *forms_section(document),
        *classes_section(document),
        *latency_section(document, NOT_ASKED),
        ["In the study, at full size (`architecture.yaml`):"],
        table(
            ("target", "ms", "95 % interval", "p95", "provenance", "on"),
            *(
                (target, *figures(value), value.provenance, value.device)
                for target, value in record.latencies.items()
            ),
        ),
        [
            f"- {escaped(f'{target}: {value.note}')}"
            for target, value in record.latencies.items()
            if value.note
        ],
        [f"## {capital(figure.noun)} in the study"],
        [f"**{capital(forms.describe_proxy(figure))}.**"] if forms.is_proxy else [],
        table(("", ""), *_accuracy(record), *_taught_and_expected(document)),
        [
            f"The recipe is {escaped(found['recipe_is'])}. "
            f"The figure is no estimate of the {figure.noun} after full training."
        ],
        ["## Confirmation"],
        [f"- {escaped(line)}" for line in found["confirmed"]]
        or ["None (`nas-sv2 study confirm`)."],
        *_limits_section(record, found["space"]),
        *files_section(document, files),
    )


def _limits_section(record: Record, space: str) -> list[list[str]]:
    """Return the section on the limits of the study."""
    limits = ((name, f"{excess:+.1%}") for name, excess in record.excesses.items())
    rows = table(("limit", "used beyond it"), ("space", space), *limits)
    return [["## Limits of the study"], rows, ["Negative is inside a limit."]]


def _taught_and_expected(document: Mapping[str, Any]) -> Sequence[tuple[object, ...]]:
    """Return rows on the teacher and on the fused estimate, each if there was one."""
    found, teacher = document["study"], list(teacher_rows(document).items())
    if not found.get("expected"):
        return teacher
    estimate = FusedEstimate(**found["expected"])
    on_front, beats = estimate.chances
    return [
        *teacher,
        ("expected", f"{estimate} ({found['expected_is']})"),
        ("chance of being on the front", on_front),
        ("chance of beating a baseline", beats),
    ]


def _network(document: Mapping[str, Any], record: Record) -> Sequence[tuple[object, ...]]:
    cost, taken = record.cost, document["input"]
    height, width = height_and_width(record.architecture.resolution)
    return [
        ("digest", record.architecture.digest),
        ("input", f"{record.architecture.channels} × {height} × {width}"),
        ("multiply-adds", f"{cost.flops / 1e6:.1f} M"),
        ("params", f"{cost.params:,}"),
        ("memory access", f"{cost.memory_access_bytes / 1e6:.1f} MB (unfused, float32)"),
        *_memory(record),
        ("trained with input", input_of(taken)),
        ("trained form", f"{document['flops'] / 1e6:.1f} M, {document['params']:,} params"),
        ("grey levels", grey_levels(taken)),
        ("output", output_of(document)),
        labels_row(document),
    ]


def _memory(record: Record) -> Sequence[tuple[object, ...]]:
    """Return the row of the peak memory; none if no budget limited it."""
    if record.memory_bytes is None:
        return []
    return [("peak memory", f"{memory_in_words(record.memory_bytes)} (float32, one image)")]


def _accuracy(record: Record) -> Sequence[tuple[object, ...]]:
    evaluation, spread = record.evaluation, record.evaluation.spread
    stopped = f", stopped: {evaluation.stopped}" if evaluation.stopped else ""
    rows = [
        (
            evaluation.figure.name,
            f"{evaluation.describe_figure()} of {evaluation.val_images:,} validation images",
        ),
    ]
    if evaluation.mae is None:
        rows.append(("cross-entropy", f"{evaluation.describe_loss()} nats"))
    if spread is not None:
        between = (
            f"means of {len(evaluation.scores)} trainings; standard deviation of the "
            f"{facts_of(evaluation.scored_by).name} between them {spread:.4g}; the weights are "
            "the first's"
        )
        rows.append(("seeds", between))
    if evaluation.scored_by != evaluation.figure.by:
        rows.append(("compared by", evaluation.describe_score()))
    recipe = (
        f"{evaluation.recipe} ({evaluation.recipe_digest}), seed {evaluation.seed}, "
        f"{counted(evaluation.epochs, 'epoch')}, {evaluation.train_images:,} image passes{stopped}"
    )
    rows += [
        ("recipe", recipe),
        ("data", evaluation.data),
        ("trained on", describe_place(evaluation.device)),
    ]
    return rows
