"""A search for a detector: its request, understood, and all in which it differs from others.

Each candidate is the backbone of a detector whose head and size of images are given. The latency
is that of the whole detector, the score its mmAP after a short training of backbone and head.
A budget limits FLOPs and parameters of the backbone at the size of the images. FLOPs of the whole
detector are noted beside them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nas_sv2.documents import check_choice
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.evaluators import choose_evaluator
from nas_sv2.evaluate.fitting.evaluator import DataSet, Evaluator, EvaluatorChoice
from nas_sv2.latency.targets.target import Target
from nas_sv2.resolution import height_and_width
from nas_sv2.search.session.timed_input import read_input
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.extremes import smallest
from nas_sv2.space.choices.levels import nearest_level, open_space
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.networks.trunk import trunk_of
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.timed_and_trained import describe_detector as describe_form

if TYPE_CHECKING:  # imports torchvision
    from nas_sv2.evaluate.detection.detector import DetectorForm
    from nas_sv2.evaluate.detection.scenes import SceneData
    from nas_sv2.search.walk.detector_target import DetectorTarget

CLASSIFICATION, DETECTION = "classification", "detection"
TASKS = (CLASSIFICATION, DETECTION)
DATA = {CLASSIFICATION: "animals", DETECTION: "drawn"}
"""The demo data of each task."""
HEAD = "ssdlite"
TYPICAL = "shufflenet_v2_x1_0"
"""The network whose FLOPs say how much a level costs at the size of the images."""
ONLY: Mapping[str, tuple[tuple[object, ...], str]] = {
    "evaluator": (("recipe",), "a detector is trained on each candidate"),
    "guidelines": ((None, "off"), "their limits are of classifiers"),
    "stop_rule": ((None, False), "its forecasts are of classifiers"),
    "latency": (("measured",), "predictors know classifiers alone"),
    "warm_start": ((None,), "the model of another study's scores is of classifiers"),
    "ray": ((None,), "detectors are trained on this machine"),
    "skip_unreadable": ((False,), "an image that cannot be read ends a training"),
}
"""The values that a search for a detector takes, and the reason for which it takes no others."""


def read_detector(words: Mapping[str, Any]) -> "DetectorForm | None":
    """Read the detector that is searched; None for a search of classifiers.

    Args:
        words: The request: the options of `nas-sv2 search`.

    Raises:
        ConfigError: There is no such task or head, or an option has no meaning for the task.
    """
    task, head, size = words["task"], words["head"], words["input"]
    check_choice("task", task, TASKS)
    if task == CLASSIFICATION:
        if head is not None:
            raise ConfigError("head", head, "must be left out without the task detection")
        return None
    for field, (values, why) in ONLY.items():
        if words[field] not in values:
            shown = [str(one) for one in values if one not in (None, False)]
            allowed = " or ".join(shown) or "left out"
            raise ConfigError(field, words[field], f"must be {allowed} with task detection: {why}")
    return _form(HEAD if head is None else head, size)


def _form(head: str, size: str | None) -> "DetectorForm":
    from nas_sv2.evaluate.detection.detector import DetectorForm

    allowed = "must be HEIGHTxWIDTHx3 with task detection, the size of all images, as 96x128x3"
    if size is None or not size.endswith("x3"):
        raise ConfigError("input", "nothing" if size is None else size, allowed)
    resolution, _ = read_input(size)
    return DetectorForm(head, *height_and_width(resolution))


def choose_trainer(
    evaluator: str | Evaluator, recipe: str | None, form: "DetectorForm | None"
) -> EvaluatorChoice:
    """Choose the training of a detector for each candidate, or another evaluator without one.

    Raises:
        ConfigError: There is no such evaluator or recipe.
    """
    if form is None:
        return choose_evaluator(evaluator, recipe)
    from nas_sv2.evaluate.detection.short_training import choose_detector

    return choose_detector(form, recipe)


def open_boxes(spec: str, notify: Callable[[str], None]) -> DataSet:
    """Open the data of detectors; see `open_scenes` for the errors."""
    from nas_sv2.evaluate.detection.data import open_scenes

    return open_scenes(spec, notify)


def detector_space(
    space: str | SearchSpace | None, form: "DetectorForm", budget: Budget, usual_flops: float
) -> SearchSpace:
    """Return the space that was named, or the level nearest to a budget of FLOPs.

    Args:
        space: The space in the user's words, or None.
        form: The detector; the budget is that of its backbone.
        budget: The limits.
        usual_flops: The level at 224×224 if there is no budget of FLOPs.

    Raises:
        ConfigError: There is no such space, or a limit on memory, which is not known of detectors.
    """
    if budget.memory_bytes is not None:
        got = memory_in_words(budget.memory_bytes)
        allowed = "must be no memory with task detection: that of a whole detector is not known"
        raise ConfigError("budget", got, allowed)
    if isinstance(space, SearchSpace):
        return space
    if space is not None:
        return open_space(space)
    if budget.flops is None:
        return nearest_level(usual_flops)
    typical = reference(TYPICAL)
    share = cost_of(backbone(form, typical)).flops / cost_of(lower(typical)).flops
    return nearest_level(budget.flops / share)


def backbone(form: "DetectorForm", architecture: Architecture) -> Graph:
    """Return the operators of a candidate that a detector has, at the size of its images.

    Raises:
        ConfigError: The images are too small for it, or it has a single stage.
    """
    try:
        return trunk_of(architecture, form.height, form.width).graph
    except ConfigError as error:
        if error.field != "image_size":
            raise
        raise ConfigError("input", f"{error.value}x3", error.sentence) from None


def counting_detectors(walk: Walk, form: "DetectorForm", data: DataSet) -> Walk:
    """Let a walk count backbones, which budgets limit, and note the FLOPs of whole detectors."""
    classes = len(_boxes(data).categories)
    return replace(
        walk,
        counted=partial(backbone, form),
        detector_flops=lambda architecture: form.on(architecture, classes).flops,
    )


def timed_whole(
    target: Target, form: "DetectorForm", data: DataSet, space: SearchSpace
) -> "DetectorTarget":
    """Let a target time whole detectors.

    Raises:
        ConfigError: It cannot.
    """
    from nas_sv2.search.walk.detector_target import DetectorTarget

    whole = DetectorTarget(target, form, len(_boxes(data).categories))
    whole.check(smallest(space))
    return whole


def describe_detector(form: "DetectorForm") -> list[str]:
    """Say what of a detector is timed, trained and counted."""
    return [
        f"detector  {describe_form(str(form))}",
        "          the sampler models the mmAP itself, without credit for latency, which was "
        "measured on classifiers alone",
    ]


def describe_boxes(data: DataSet) -> list[str]:
    """Describe the data of detectors."""
    data = _boxes(data)
    return [
        f"data      {data.name}: {len(data.train):,} images to train, {len(data.val):,} to score, "
        f"{len(data.categories)} categories",
        *(f"          {note}" for note in data.notes),
    ]


def _boxes(data: DataSet) -> "SceneData":
    from nas_sv2.evaluate.detection.scenes import SceneData

    assert isinstance(data, SceneData), "the plan of a detector opens such data"
    return data
