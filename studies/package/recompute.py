"""Checks the parts of a package that follow from others: the card, and the models for timing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.package.card import PAGE, PAGE_KEY, record_in, trial_card
from nas_sv2.studies.package.forms import INT8, TIMING, TIMING_INT8, shuffle_free_onnx
from nas_sv2.studies.package.full_package import full_card
from nas_sv2.studies.package.onnx_models import difference


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
    if "study" in document and PAGE_KEY in document:
        record = record_in(document)
        if record.architecture.digest != found.digest:
            return Made(False, "its record describes another network")
    return Made(True, "describes the networks of this package")


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


def _apart(found: Classifier, trained: Classifier, name: str, model: bytes) -> str:
    """Return the first difference of a model for timing from `found`; empty if there is none."""
    if isinstance(found, Architecture) and isinstance(trained, Architecture):
        depths, others = ([stage.depth for stage in each.stages] for each in (found, trained))
        if depths != others:
            return f"stages of {depths} units, of {others} in the trained form"
    graph = lower(found)
    params = cost_of(graph).params
    # Half of them: a folded batch norm has one number per channel instead of two.
    if len(model) < params / 2 * (1 if name in INT8 else 4):
        return f"too small for {params:,} params"
    ours = shuffle_free_onnx(graph, random_weights(graph, seed=0))
    return difference(ours, model, name in INT8)
