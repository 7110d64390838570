"""Verifies an exported network on any machine: its files, its forms, its accuracy.

Parts that follow from others are made again and compared: the card, and the models for timing.
The models in onnxruntime are run. `model.py` and the files for LiteRT and ncnn are run if they are
those that this nas-sv2 writes for the network.
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.decoding import FITS
from nas_sv2.evaluate.data.image_data import Part
from nas_sv2.evaluate.data.image_listing import adopt_fit
from nas_sv2.evaluate.fitting.augment import Normalise, centre_of
from nas_sv2.evaluate.fitting.determinism import cpu_threads
from nas_sv2.evaluate.fitting.evaluation import Figure, data_key
from nas_sv2.evaluate.fitting.subset import choose_subset
from nas_sv2.evaluate.recipes.files import recipe_from_document
from nas_sv2.evaluate.recipes.scores import IMAGES, kind_in
from nas_sv2.resolution import check_image_size, read_resolution
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.ncnn_lowering import NcnnFiles, build_ncnn
from nas_sv2.space.runtimes.onnx_form import shuffle_free_onnx
from nas_sv2.space.runtimes.onnx_lowering import OPSETS, metadata_of, opset_of
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.source_lowering import source_of
from nas_sv2.space.runtimes.tflite_int8 import quantize_tflite
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.package.card import (
    BATCHES,
    CARD,
    CARD_JSON,
    FILES,
    PAGE,
    PAGE_KEY,
    count_shuffles,
    record_in,
    trial_card,
)
from nas_sv2.studies.package.folder import SUMS
from nas_sv2.studies.package.form_checks import (
    Agreement,
    agreements,
    check_self_contained,
    difference,
    noise,
)
from nas_sv2.studies.package.forms import (
    INT8,
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
    TIMINGS,
    TORCH,
    WEIGHTS,
    batches_of,
    forms_of,
    metadata,
    ncnn_weights_of,
    shuffle_free_tflite,
    torch_form,
)
from nas_sv2.studies.package.full_package import full_card
from nas_sv2.studies.package.load import Package, load_package
from nas_sv2.version import __version__


@dataclass(frozen=True, slots=True)
class Made:
    """The result of the check of a part: whether it follows from others, and the finding."""

    holds: bool
    found: str


def page_check(document: Mapping[str, Any], page: bytes, files: Iterable[str]) -> Made:
    """Compare `card.md` with the page that follows from `card.json`.

    Args:
        document: Content of `card.json`; errors from reading it are passed on.
        page: Content of `card.md`.
        files: Names of the package's files.
    """
    if document.get(PAGE_KEY) != PAGE:
        by = document["made_with"]["nas-sv2"]
        return Made(
            True, f"written by nas-sv2 {by} in another form: only its checksum was checked"
        )
    text = trial_card(document, files) if "study" in document else full_card(document, files)
    if text.encode() == page:
        return Made(True, "follows from card.json")
    lines = zip(text.splitlines(), page.decode(errors="replace").splitlines(), strict=False)
    number = next((n for n, (ours, theirs) in enumerate(lines, 1) if ours != theirs), None)
    where = "its length differs" if number is None else f"line {number} differs"
    return Made(False, f"is not the page that follows from card.json: {where}")


def figures_check(document: Mapping[str, Any], found: Classifier, trained: Classifier) -> Made:
    """Compare the digests and costs in `card.json` with the networks."""
    cost = cost_of(lower(trained))
    wanted: dict[str, object] = {
        "digest": found.digest,
        "trained_digest": trained.digest,
        "flops": cost.flops,
        "params": cost.params,
    }
    for name, value in wanted.items():
        if document[name] != value:
            return Made(
                False, f"{name}: {document[name]!r}, but the network of this package has {value!r}"
            )
    if document.get(PAGE_KEY) == PAGE and document["shuffles"] != count_shuffles(trained):
        return Made(False, f"shuffles: {document['shuffles']!r}, not those of the models")
    if "study" in document and PAGE_KEY in document:
        record = record_in(document)
        if record.architecture.digest != found.digest:
            return Made(False, "its record describes another network")
    return Made(True, "describes the networks of this package")


def metadata_checks(
    document: Mapping[str, Any], files: Mapping[str, bytes]
) -> Iterable[tuple[str, Made]]:
    """Compare the facts in each trained model with `card.json`; older versions wrote none."""
    wanted = facts_of(document)
    for name in (MODEL, MODEL_INT8):
        if name in files and document.get(PAGE_KEY) == PAGE:
            held = metadata_of(files[name])
            apart = [key for key in sorted({*wanted, *held}) if wanted.get(key) != held.get(key)]
            other = f"its metadata and card.json differ in {', '.join(apart)}"
            same = f"holds {', '.join(sorted(wanted))} as card.json has them"
            yield name, Made(not apart, other if apart else same)


def facts_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts that the trained models carry, by `card.json`."""
    taken = document["input"]
    return metadata(
        document["class_names"],
        taken["mean"],
        taken["deviation"],
        taken["side"],
        taken.get("fit"),  # older versions did not write it
        document["made_with"]["nas-sv2"],
        kind_in(document),
    )


def timing_checks(
    found: Classifier, trained: Classifier, files: Mapping[str, bytes]
) -> Iterable[tuple[str, Made]]:
    """Compare each model for timing with the operators of `found`; its weights are random.

    An architecture may claim any width and depth, so no model is built that is larger than its
    file.
    """
    for name in (TIMING, TIMING_INT8):
        if name in files:
            apart = _apart(found, trained, name, files[name])
            other = f"is not the network of architecture.yaml: {apart}"
            same = "has the operators of architecture.yaml; its numbers are random"
            yield name, Made(not apart, other if apart else same)


def _too_small(found: Classifier, trained: Classifier, name: str, model: bytes) -> str:
    """Return why a model for timing cannot hold `found`; empty if it may."""
    if isinstance(found, Architecture) and isinstance(trained, Architecture):
        depths, others = ([stage.depth for stage in each.stages] for each in (found, trained))
        if depths != others:
            return f"stages of {depths} units, of {others} in the trained form"
    graph = lower(found)
    params = cost_of(graph).params
    # Half of them: a folded batch norm has one number per channel instead of two.
    if len(model) < params / 2 * (1 if name in INT8 else 4):
        return f"too small for {params:,} params"
    return ""


def _apart(found: Classifier, trained: Classifier, name: str, model: bytes) -> str:
    """Return the first difference of a model for timing from `found`; empty if there is none."""
    if apart := _too_small(found, trained, name, model):
        return apart
    if (opset := opset_of(model)) not in OPSETS:
        return f"opset {opset}, not one from {OPSETS[0]} to {OPSETS[-1]}"
    graph = lower(found)
    ours = shuffle_free_onnx(graph, random_weights(graph, seed=0), opset)
    return difference(ours, model, name in INT8)


def tflite_checks(package: Package, document: Mapping[str, Any]) -> Iterable[tuple[str, Made]]:
    """Compare each file for LiteRT with the bytes that this nas-sv2 writes for the network.

    In int8 these follow from the scales in `card.json`. Another file is not even parsed: LiteRT
    is not made for files of strangers.
    """
    found, trained, files = package.architecture, package.trained, package.files
    for name in (MODEL_TFLITE, MODEL_TFLITE_INT8, TIMING_TFLITE, TIMING_TFLITE_INT8):
        if name not in files:
            continue
        timing = name in TIMINGS
        if timing and (apart := _too_small(found, trained, name, files[name])):
            yield name, Made(False, f"is not the network of architecture.yaml: {apart}")
            continue
        graph = lower(found if timing else trained)
        numbers = random_weights(graph, seed=0) if timing else package.weights
        ours = shuffle_free_tflite(graph, numbers, None if timing else facts_of(document))
        if name in INT8:
            held = document["tflite_scales"][name]
            ours = quantize_tflite(ours, [(float(scale), int(zero)) for scale, zero in held])
        yield name, _same_bytes(ours, files[name])


def ncnn_checks(package: Package) -> Iterable[tuple[str, Made]]:
    """Compare the files for ncnn with those that this nas-sv2 writes for the network.

    The scales of activations in int8 may be any, as the images that gave them are not here. Other
    files are not even parsed.
    """
    found, trained, files = package.architecture, package.trained, package.files
    for name in (MODEL_NCNN, MODEL_NCNN_INT8, TIMING_NCNN, TIMING_NCNN_INT8):
        if name not in files:
            continue
        weights = files.get(ncnn_weights_of(name), b"")
        network = found if name in TIMINGS else trained
        if name in TIMINGS and (apart := _too_small(found, trained, name, weights)):
            yield name, Made(False, f"is not the network of architecture.yaml: {apart}")
            continue
        graph = lower(network)
        numbers = random_weights(graph, seed=0) if name in TIMINGS else package.weights
        free, moved = without_shuffles(graph, numbers)
        any_scale: dict[str, float] = defaultdict(lambda: 1.0)
        ours = build_ncnn(free, moved, any_scale if name in INT8 else None)
        theirs = NcnnFiles(files[name], weights, ours.scales)
        yield name, _same_bytes(_without_scales(ours), _without_scales(theirs))


def _without_scales(model: NcnnFiles) -> bytes:
    """Return both files as one, with 1 for each scale of an activation that can be one."""
    content = bytearray(model.weights)
    for place in model.scales:
        scale = np.frombuffer(content[place : place + 4].ljust(4, b"\0"), "<f4")[0]
        if np.isfinite(scale) and scale > 0:
            content[place : place + 4] = np.float32(1).tobytes()
    return model.param + content


def _same_bytes(ours: bytes, theirs: bytes) -> Made:
    if ours == theirs:
        return Made(True, f"is the file that nas-sv2 {__version__} writes for this network")
    other = f"is not the file that nas-sv2 {__version__} writes for this network; it was not run"
    return Made(False, other)


T = TypeVar("T")

SLACK, INT8_SLACK = 0.001, 0.01
"""Largest accepted difference from the accuracy at the export, or as a share of its error. Sums in
another order change the class of one image in ten thousand, other int8 kernels that of some in a
hundred."""
INT8_ERROR_SLACK = 0.1
"""Largest accepted increase of the error of int8 on noise since the export. int8 sums are exact,
but kernels differ in rounding and, on x86 without VNNI, in saturation."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: its subject, whether it holds, and the finding."""

    what: str
    holds: bool
    found: str


def verify(
    folder: Path,
    data: str | None = None,
    run_source: bool = False,
    skip_unreadable: bool = False,
) -> Iterator[Check]:
    """Check the package in `folder` and yield each result; checking may end at a failure.

    Args:
        folder: Folder that `nas-sv2 export` or `network train` wrote.
        data: Data whose validation images the forms classify; by default they run on noise.
        run_source: Whether to run a `model.py` that differs from the text of this nas-sv2.
        skip_unreadable: Whether to leave out images that cannot be read.

    Raises:
        ConfigError: If the folder is not a package, contradicts its card, or refers to files
            outside it, or if the data do not fit the network.
        EvaluationError: If the data cannot be read.
    """
    try:
        package = load_package(folder)
    except StoreError as error:
        yield Check(SUMS, False, str(error))
        return
    yield from _files_check(package)
    _check_side(package)
    yield from _parts_check(package)
    normalise = _normalise(package)
    yield from _source_check(package, normalise, run_source)
    asked = dict(package.files)
    if SOURCE in asked and not (run_source or _is_ours(package, normalise)):
        del asked[SOURCE]
    made_of_files = _read(package, lambda card: list(tflite_checks(package, card)))
    for name, made in (*made_of_files, *ncnn_checks(package)):
        yield Check(name, made.holds, made.found)
        if not made.holds:
            del asked[name]
    yield from _forms_check(package, asked, normalise, data, skip_unreadable)


_NAMES = (*(name for name in FILES if name != SUMS), CARD)
"""Names that a user would take for parts of the package."""


def _files_check(package: Package) -> Iterator[Check]:
    """Check that every file is listed, and refuse a model that refers to other files.

    Raises:
        ConfigError: If a model does.
    """
    yield Check(SUMS, True, f"{len(package.files)} files match their checksums")
    if unlisted := [name for name in _NAMES if _lies_beside(package, name)]:
        names = ", ".join(unlisted)
        yield Check(SUMS, False, f"{names}: in the folder, but not listed, and not checked")
    for name, content in package.files.items():
        if name.endswith(".onnx"):
            check_self_contained(name, content)


def _lies_beside(package: Package, name: str) -> bool:
    return name not in package.files and os.path.lexists(package.folder / name)


def _check_side(package: Package) -> None:
    """Refuse too large a resolution, which weights do not limit.

    Raises:
        ConfigError: If the images would be too large.
    """
    for network in (package.trained, package.architecture):
        check_image_size(f"resolution in {package.folder}", network.resolution)


def _parts_check(package: Package) -> Iterator[Check]:
    """Check the parts that follow from other files of the package."""
    found, trained, files = package.architecture, package.trained, package.files
    made = _read(package, lambda card: figures_check(card, found, trained))
    yield Check(CARD_JSON, made.holds, made.found)
    if CARD in files:
        names = [name for name in (*files, SUMS) if name != CARD]
        made = _read(package, lambda card: page_check(card, files[CARD], names))
        yield Check(CARD, made.holds, made.found)
    made_of_models = _read(package, lambda card: list(metadata_checks(card, files)))
    for name, made in (*made_of_models, *timing_checks(found, trained, files)):
        yield Check(name, made.holds, made.found)


def _forms_check(
    package: Package,
    files: dict[str, bytes],
    normalise: Normalise,
    data: str | None,
    skip_unreadable: bool,
) -> Iterator[Check]:
    """Run the forms in `files`: on the validation images of `data`, or on noise."""
    network, kind = torch_form(package.trained, package.weights), _read(package, kind_in)
    try:
        with cpu_threads(1):
            forms = {TORCH: network, **forms_of(files, package.weights)}
            if data is None:
                trained = package.trained
                images = noise(trained.channels, trained.resolution)
                found = agreements(network, forms, images, kind)
            else:
                part, same_images = _validation(package, data, skip_unreadable)
                found = agreements(network, forms, batches_of(part, normalise), kind)
    except StoreError as error:
        yield Check("forms", False, str(error))
        return
    for name, agreement in found.items():
        if name != TORCH:
            yield _form_check(package, name, agreement, on_noise=data is None)
    if data is not None:
        for name, agreement in found.items():
            yield _accuracy_check(package, name, agreement, same_images)


def _source_check(package: Package, normalise: Normalise, run_source: bool) -> Iterator[Check]:
    if SOURCE not in package.files:
        return
    if _is_ours(package, normalise):
        yield Check(
            SOURCE, True, f"is the text that nas-sv2 {__version__} writes for this network"
        )
    elif run_source:
        yield Check(SOURCE, True, "is not the text that this nas-sv2 writes; it is run on request")
    else:
        found = (
            f"is not the text that nas-sv2 {__version__} writes for this network; it was not run; "
            "read it, and ask for run_model_py to run it"
        )
        yield Check(SOURCE, False, found)


def _is_ours(package: Package, normalise: Normalise) -> bool:
    if not isinstance(package.trained, Architecture):
        return False
    mean, deviation = normalise.mean.tolist(), normalise.deviation.tolist()
    names = _read(package, lambda card: card["class_names"])
    fit = _read(package, lambda card: card["input"].get("fit"))
    texts = (  # older versions wrote neither, then names alone
        source_of(package.trained, mean, deviation, WEIGHTS, *each)
        for each in ((names, fit), (names, None), (None, None))
    )
    return package.files[SOURCE] in [text.encode() for text in texts]


def _form_check(package: Package, name: str, agreement: Agreement, on_noise: bool) -> Check:
    if name in INT8 and on_noise:
        return _int8_check(package, name, agreement)
    try:
        agreement.check(name, name in INT8)
    except StoreError as error:
        return Check(name, False, str(error))
    what, whole = ("answers", "their range") if agreement.is_number else ("logits", "the largest")
    alike = f"{agreement.alike()} on {agreement.images:,} images"
    if agreement.same is not None:
        same = round(agreement.same * agreement.images)
        alike = f", the same class first for {same:,} of {agreement.images:,} images"
    found = (
        f"{what} differ from torch by {agreement.difference:.1e} at most "
        f"({agreement.relative:.1e} of {whole}){alike}"
    )
    if name == MODEL:
        found += f"; {BATCHES}"
    return Check(name, True, found)


def _int8_check(package: Package, name: str, agreement: Agreement) -> Check:
    """Compare the error of int8 on noise with that at the export.

    int8 is far from the network on noise, which is unlike the images that set its ranges.
    """
    was = _read(package, lambda card: float(card["forms_on_noise"][name]["error"]))
    found = f"error of the logits on noise {agreement.error:.1%}, {was:.1%} at export"
    return Check(name, agreement.error <= was + INT8_ERROR_SLACK, found)


def _accuracy_check(package: Package, name: str, agreement: Agreement, same_images: bool) -> Check:
    now, what = agreement.figure, f"{name} accuracy"
    assert now is not None, "labels were given"
    if now.by != "accuracy":
        what = f"{name} {now.name}"
    shown = now.describe()
    if not same_images:
        found = f"{shown} of {agreement.images:,} images that are not those of the export"
        return Check(what, True, found)
    was = _read(package, lambda card: Figure.find(card["forms"][name]))
    if was is None:
        found = f"{shown} of {agreement.images:,} validation images; not measured at export"
        return Check(what, True, found)
    slack = max(INT8_SLACK if name in INT8 else SLACK, 1.5 / agreement.images)
    found = f"{shown} of {agreement.images:,} validation images, {was.describe()} at export"
    return Check(what, now.is_near(was, slack), found)


def _validation(package: Package, spec: str, skip_unreadable: bool) -> tuple[Part, bool]:
    """Open the validation images, and say whether they are exactly those of the export."""
    field = f"centre_of in {package.folder / CARD_JSON}"
    taken = read_resolution(field, _read(package, lambda card: card["input"]["centre_of"]))
    check_image_size(field, taken)
    fit = _read(package, lambda card: str(card["input"].get("fit", FITS[0])))
    recipe = recipe_from_document(_read(package, lambda card: card["recipe"]))
    data = open_data(
        adopt_fit(spec, fit),
        resolution=taken,
        skip_unreadable=skip_unreadable,
        numbers=recipe.numbers,
    )
    subset, trained = choose_subset(data, recipe), package.trained
    if (data.channels, subset.classes) != (trained.channels, trained.classes):
        allowed = f"must have images of {trained.channels} channels and {trained.classes} classes"
        raise ConfigError("data", spec, allowed)
    kind = _read(package, kind_in)
    if data.kind != kind:
        allowed = f"must be {IMAGES[kind]}, as those of the training"
        raise ConfigError("data", spec, allowed)
    part = Part(centre_of(subset.val.images, trained.resolution), subset.val.labels)
    key = _read(package, lambda card: data_key(str(card["data"])))
    return part, key == data.key


def _normalise(package: Package) -> Normalise:
    def numbers(card: Mapping[str, Any], name: str) -> torch.Tensor:
        values = [float(value) for value in card["input"][name]]
        if len(values) != package.trained.channels or not all(map(math.isfinite, values)):
            raise ValueError
        return torch.tensor(values)

    return Normalise(
        _read(package, lambda card: numbers(card, "mean")),
        _read(package, lambda card: numbers(card, "deviation")),
    )


_ODD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StoreError)
"""Errors from reading a card that nas-sv2 did not write in this form."""


def _read(package: Package, of: Callable[[Mapping[str, Any]], T]) -> T:
    """Return the value that `of` reads from the card.

    Raises:
        ConfigError: If the card lacks the value or has a wrong one.
    """
    try:
        return of(package.card)
    except _ODD as error:
        allowed = f"must be a card as nas-sv2 writes it ({error!r})"
        raise ConfigError("file", str(package.folder / CARD_JSON), allowed) from None
