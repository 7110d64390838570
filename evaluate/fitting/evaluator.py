"""The interface between a search and its evaluators, which say how good a candidate is.

An `Evaluator` is all that a user writes. A `Trainer` is an evaluator as a search runs it, for
given data and seed. An `EvaluatorChoice` is an evaluator that is not opened yet. It has the facts
that a study keeps, and refuses requests that the evaluator cannot meet.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation, Trained
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import IMAGES, LabelKind
from nas_sv2.resolution import Resolution
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.operators import Conv, Norm
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.units.architecture import Architecture, scale_width

if TYPE_CHECKING:  # imports torch
    from nas_sv2.evaluate.fitting.course import Progress
    from nas_sv2.evaluate.fitting.start import Start

Stops = Callable[[Sequence[Epoch]], str | None]
"""Called after each pass but the last, with the passes so far; gives a reason to end, or None."""
ONE_PIXEL = (
    "must be 2 or more for each process: a batch norm of this network has a map of one pixel"
)


class Evaluator(Protocol):
    """Says how good an architecture is; a user's own evaluator needs no more than this."""

    @property
    def name(self) -> str:
        """The name that studies and records keep. Figures of one name are compared."""
        ...

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Say how good `architecture` is.

        Raises:
            ConfigError: If `architecture` cannot be evaluated in this way.
            EvaluationError: If the evaluation gives no accuracy; only the trial fails.
        """
        ...


class StoppableEvaluator(Protocol):
    """An evaluator whose trainings can be ended after a pass."""

    def evaluate(self, architecture: Architecture, stops: Stops | None = None) -> Evaluation:
        """Say how good `architecture` is, or was when `stops` ended it; see `Evaluator`."""
        ...


class DataSet(Protocol):
    """The facts of a data set that a study keeps, whatever its images are labelled with."""

    @property
    def name(self) -> str:
        """The spec that opened it."""
        ...

    @property
    def key(self) -> str:
        """16 hexadecimal digits that identify its content."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines on images that were left out, with counts."""
        ...

    @property
    def provenance(self) -> str:
        """Text `SPEC@KEY` that evaluations record."""
        ...


class Trainer(Protocol):
    """An evaluator as a search runs it; it says what its evaluations depend on."""

    @property
    def recipe(self) -> Recipe:
        """The recipe; its digest is unique to this way to an evaluation."""
        ...

    @property
    def data(self) -> DataSet:
        """The images."""
        ...

    @property
    def seed(self) -> int:
        """The seed of the training."""
        ...

    @property
    def place(self) -> str:
        """The processor, as evaluations record it."""
        ...

    def adapt(self, architecture: Architecture) -> Architecture:
        """Return the form that is trained."""
        ...

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """Return the evaluation of `architecture`, with its weights if there are any.

        Raises:
            ConfigError: If `architecture` cannot be evaluated in this way.
            EvaluationError: If the evaluation gives no accuracy.
        """
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """The circumstances of a search's evaluations.

    Attributes:
        seed: Seed of the trainings; an evaluator with a seed of its own ignores it.
        threads: CPU threads.
        device: A torch device, `cpu` or `cuda`.
        progress: Called after each step with the steps done and the steps in all.
        checkpoints: Folder from which a killed training is resumed; None for none.
        notify: Called with each line of news.
    """

    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    progress: "Progress | None" = None
    checkpoints: Path | None = None
    notify: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class EvaluatorChoice:
    """An evaluator that is not opened yet: the differences between evaluators, as values.

    Attributes:
        words: The words that name it, as `--evaluator` takes them.
        short_name: The word for it in the default name of a study.
        recipe: The recipe that evaluations record.
        open: Makes the trainer for data, `ImageData` or those of its task; raises `ConfigError`
            if it cannot be used with them.
        identity: Facts that a study keeps beside the recipe: `{kind: content}`, or nothing.
        place: The folder it lies in now; None if it lies in none.
        described: Description, a fact a line.
        trains: Whether nas-sv2 trains each candidate: it can be stopped, and trained on a GPU.
        weights_by: The way to weights that were not kept, in words; None if there are no weights.
        seed: A seed of its own; None if it takes the search's.
        space: The only space that it knows; None if it takes any.
        seconds_before: Seconds that were spent once, before the first evaluation.
    """

    words: str
    short_name: str
    recipe: Recipe
    open: Callable[[Any, Setting], Trainer]
    identity: Mapping[str, str] = field(default_factory=dict)
    place: Path | None = None
    described: Sequence[str] = ()
    trains: bool = False
    weights_by: str | None = None
    seed: int | None = None
    space: SearchSpace | None = None
    seconds_before: float = 0.0

    def check_device(self, device: str) -> None:
        """Refuse a training device that does not exist, or on which nothing is trained.

        Raises:
            ConfigError: If `device` is such a device.
        """
        if device not in ("cpu", "cuda"):
            raise ConfigError("device", device, "must be cpu or cuda")
        if device != "cpu" and not self.trains:
            sentence = f"must be cpu with evaluator {self.words}, which trains no candidate"
            raise ConfigError("device", device, sentence)
        if self.trains:
            check_trainable(self.recipe, device)

    def check_stop_rule(self, stop_rule: bool) -> None:
        """Refuse to end trainings if there are none.

        Raises:
            ConfigError: If the rule is on, and candidates are not trained.
        """
        if stop_rule and not self.trains:
            sentence = f"must be off with evaluator {self.words}, which trains no candidate"
            raise ConfigError("stop_rule", stop_rule, sentence)

    def choose_space(self, text: str | None, otherwise: SearchSpace) -> SearchSpace:
        """Return the space that `text` names.

        Args:
            text: A space in the user's words, or None.
            otherwise: The space if nothing was named and the evaluator takes any.

        Raises:
            ConfigError: If there is no such space, or the evaluator does not know it.
        """
        named = None if text is None else open_space(text)
        if self.space is None:
            return named or otherwise
        if named is not None and named.digest != self.space.digest:
            sentence = f"must be the evaluator's space, {self.space.name}, or be left out"
            raise ConfigError("space", text, sentence)
        return named or self.space


def trained_form(
    architecture: Architecture,
    recipe: Recipe,
    resolution: Resolution,
    channels: int,
    classes: int,
) -> Architecture:
    """The form that a recipe trains: input and classes of the data, stem and widths of its own.

    Args:
        architecture: The network.
        recipe: The recipe.
        resolution: Resolution of the images.
        channels: Channels of the images.
        classes: Classes of the data; the recipe may draw fewer.

    Raises:
        ConfigError: If the total stride exceeds the side of the images.
    """
    stride, pool = recipe.stem_stride, recipe.stem_pool
    return dataclasses.replace(
        scale_width(architecture, recipe.width_factor),
        resolution=resolution,
        channels=channels,
        classes=min(recipe.classes or classes, classes),
        stem_stride=architecture.stem_stride if stride is None else stride,
        stem_pool=architecture.stem_pool if pool is None else pool,
    )


def check_batch(
    recipe: Recipe, network: Classifier, processes: int = 1, start: "Start | None" = None
) -> None:
    """Refuse steps of one image if a batch norm then has one number a channel.

    Args:
        recipe: The recipe.
        network: The form that is trained, at the resolution of its training.
        processes: Number of processes that share a step.
        start: Its frozen batch norms take no statistics of a batch; None for none.

    Raises:
        ConfigError: If the recipe has such steps; names the field.
    """
    for name in ("batch", "images_per_epoch", "train_images"):
        images = getattr(recipe, name)
        if images is None or images // processes != 1:
            continue
        for op in lower(network).ops:
            has_norm = (
                op.kind.batch_norm if isinstance(op.kind, Conv) else isinstance(op.kind, Norm)
            )
            if start is not None and start.freezes(op.name):
                continue
            if has_norm and op.output.area == 1:
                raise ConfigError(f"recipe.{name}", images, ONE_PIXEL)


def check_class_weights(recipe: Recipe, kind: LabelKind) -> None:
    """Refuse weights of classes for images that have several labels.

    Raises:
        ConfigError: If the recipe has such weights; names the field.
    """
    if recipe.class_weights != "none" and kind != "classes":
        allowed = f"must be none for {IMAGES[kind]}"
        raise ConfigError("recipe.class_weights", recipe.class_weights, allowed)


def check_trainable(recipe: Recipe, device: str = "cpu") -> None:
    """Refuse a recipe that a short training cannot follow.

    Raises:
        ConfigError: If the recipe is one; names the field.
    """
    full = recipe.full_training
    if full is not None:
        used = [
            field.name
            for field in dataclasses.fields(full)
            if getattr(full, field.name) != field.default
        ]
        raise ConfigError(
            "recipe",
            recipe.name,
            "must be a recipe for candidates; this one is for full training, with "
            + ", ".join(used),
        )
    if recipe.precision == "fp16" and not device.startswith("cuda"):
        raise ConfigError("recipe.precision", "fp16", "must be fp32 or bf16 where there is no GPU")
