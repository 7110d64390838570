"""Trains one candidate for a short time and validates it.

Every draw comes from generators that depend on the seed alone. Candidates see the same images in
the same order with the same flips and shifts, so that results differ by the networks alone.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.batches import Batches
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.course import Course, Pass, PassRecord, Progress
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation, Trained, average_evaluations
from nas_sv2.evaluate.fitting.evaluator import (
    EvaluatorChoice,
    Setting,
    Stops,
    check_batch,
    check_class_weights,
    check_trainable,
    trained_form,
)
from nas_sv2.evaluate.fitting.int8_form import validate_int8
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.learners import NetworkLearner
from nas_sv2.evaluate.fitting.own_metric import try_score
from nas_sv2.evaluate.fitting.subset import Subset, choose_subset
from nas_sv2.evaluate.fitting.teaching import Teaching
from nas_sv2.evaluate.fitting.validation import Validation, refresh_norms, validate
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module, weights_of
from nas_sv2.space.units.architecture import Architecture

CHECKPOINT_SECONDS = 30.0  # what a kill may cost; 20 MB in 0.05 s, under 1 % of the time


@dataclass(frozen=True, eq=False)
class ProxyTraining:
    """Trains candidates by one recipe on one data set; an `Evaluator`.

    Attributes:
        recipe: The recipe.
        data: The images.
        seed: Seed of weights, order and augmentation.
        threads: CPU threads, set for the training and put back after it. Another number rounds
            otherwise, which changes a result as much as another seed: 89.9 % with two, 90.8 %
            with one (quick, V2 1x).
        device: A torch device, `cpu` or `cuda`.
        progress: Called after each step with the steps done and the steps in all.
        checkpoints: Folder from which a killed training is resumed; None for none. The files of an
            evaluation are deleted when it has ended.
        notify: Called with a line if a training is resumed, or cannot be.
    """

    recipe: Recipe
    data: ImageData
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    progress: Progress | None = None
    checkpoints: Path | None = None
    notify: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        """Refuse a recipe that is not for short trainings, or suits neither labels nor device."""
        check_trainable(self.recipe, self.device)
        check_class_weights(self.recipe, self.data.kind)

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Train `architecture` and validate it; see `train` for the errors."""
        return self.train(architecture).evaluation

    def adapt(self, architecture: Architecture) -> Architecture:
        """The form that is trained: input and classes of the data, stem and widths of the recipe.

        Raises:
            ConfigError: If the total stride exceeds the side of the images, or a step of one image
                leaves a batch norm one number.
        """
        data = self.data
        adapted = trained_form(
            architecture, self.recipe, data.resolution, data.channels, data.classes
        )
        check_batch(self.recipe, adapted)
        return adapted

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """Train `architecture` from fresh weights and validate it, once for each seed.

        The weights are those of the first seed. If its training is stopped, no other begins.

        Args:
            architecture: The network.
            stops: May end the training of the first seed after a pass.

        Raises:
            ConfigError: If the total stride exceeds the side of the images.
            EvaluationError: If the loss is not finite; names step and learning rate.
            StoreError: If a checkpoint cannot be read or written.
        """
        adapted = self.adapt(architecture)
        runs: list[Trained] = []
        try:
            for number, seed in enumerate(self.seeds):
                runs.append(self._train(adapted, number, seed, None if number else stops))
                if runs[-1].evaluation.stopped is not None:
                    break
        except EvaluationError:
            self._drop_checkpoints(adapted)  # a resumed training would fail again
            raise
        self._drop_checkpoints(adapted)
        evaluation = average_evaluations([run.evaluation for run in runs])
        return Trained(evaluation, adapted, runs[0].weights)

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.recipe.name

    @property
    def seeds(self) -> Sequence[int]:
        """Seeds of the trainings that are averaged; different for each `seed`."""
        count = self.recipe.seeds
        return range(self.seed * count, (self.seed + 1) * count)

    @property
    def place(self) -> str:
        """The processor, as evaluations record it, since their last digits depend on it."""
        return f"cpu, {self.threads} threads" if self.device == "cpu" else self.device

    @cached_property
    def normalise(self) -> Normalise:
        """The normalisation by the training images."""
        return Normalise.of(self.data.train.images)

    @cached_property
    def teaching(self) -> Teaching | None:
        """The teacher of the recipe, opened once for all candidates; None if it has none.

        Raises:
            ConfigError: It is missing, changed, of other classes, or no better than chance.
        """
        return Teaching.of(
            self.recipe,
            self.data,
            self.normalise,
            self.device,
            self.threads,
            self.notify,
            shared=True,
        )

    @cached_property
    def subset(self) -> Subset:
        """The images that the recipe uses."""
        return choose_subset(self.data, self.recipe)

    @cached_property
    def scale(self) -> LabelScale | None:
        """The scale of labels that are numbers; else None.

        Raises:
            ConfigError: They are all equal, or differ too little for float32.
        """
        return LabelScale.of(self.batches.labels)

    @cached_property
    def batches(self) -> Batches:
        """The batches of training images."""
        return Batches.of(self.recipe, self.subset, self.normalise, self.device)

    def _train(
        self, adapted: Architecture, number: int, seed: int, stops: Stops | None
    ) -> Trained:
        """Train with one seed, the `number`th."""
        graph, scale = lower(adapted), self.scale
        with cpu_threads(self.threads):
            module = build_module(graph, stream(seed, "weights"))
            if scale is not None:
                scale.apply(module, graph)
            module = module.to(self.device).to(memory_format=torch.channels_last)
            course = self._begin(module, adapted, number, seed)
            for done in course.passes():
                last = done.stopped is not None or len(course.records) + 1 == self.recipe.epochs
                wanted = last or self.recipe.validate_each_epoch
                found = self.validated(module, seed) if wanted else None
                course.keep(done, found)
                reason = None if last or stops is None else stops(_history(course.records))
                if reason is not None:  # not saved: a training killed here asks again
                    course.records.pop()
                    found = found or self.validated(module, seed)
                    course.keep(dataclasses.replace(done, stopped=reason), found)
                    break
                course.save()
            weights = weights_of(module)
            weights = weights if scale is None else scale.folded(weights, graph)
            shown = course.records[-1].validation
            if self.recipe.score_form == "int8":
                parts, score = (self.data.train, self.subset.val), self.recipe.score
                shown = validate_int8(adapted, weights, *parts, self.normalise, score)
        return Trained(self._evaluation(course, shown), adapted, weights)

    def _begin(
        self, module: torch.nn.Module, adapted: Architecture, number: int, seed: int
    ) -> Course:
        """Begin the course of one seed, or resume the one of an earlier process."""

        def after_step(done: int, steps: int) -> None:
            if self.progress is not None:
                self.progress(number * steps + done, self.recipe.seeds * steps)

        course = Course(
            NetworkLearner.of(module, self.batches, self.recipe, teaching=self.teaching),
            self.batches,
            self.recipe,
            stream(seed, "order"),
            self._checkpoint(adapted, seed),
            CHECKPOINT_SECONDS,
            notify=self.notify,
            progress=after_step,
        )
        course.resume()
        return course

    def validated(self, module: torch.nn.Module, seed: int) -> Validation:
        """Validate `module` after a refresh of its batch norms' statistics.

        Raises:
            EvaluationError: If the loss is not finite.
        """
        refresh_norms(module, self.batches, self.recipe.norm_images, stream(seed, "norms"))
        part, score = self.subset.val, self.recipe.score
        validation = validate(module, part, self.normalise, self.device, score)
        if not math.isfinite(validation.loss):
            raise EvaluationError(f"the validation loss is {validation.loss} after the training")
        return validation

    def _evaluation(self, course: Course, shown: Validation) -> Evaluation:
        """Return the evaluation whose figures are those of `shown`, the form that is compared."""
        last = course.records[-1]
        passes = [record.trained for record in course.records]
        images = sum(done.images for done in passes)
        return Evaluation(
            accuracy=shown.accuracy,
            loss=None if shown.mae is not None else shown.loss,
            recipe=self.recipe.name,
            recipe_digest=self.recipe.digest,
            data=self.data.provenance,
            seed=self.seed,
            device=self.place,
            seconds=course.seconds,
            images_per_second=images / sum(done.seconds for done in passes),
            epochs=len(passes),
            train_images=images,
            val_images=shown.images,
            stopped=last.trained.stopped,
            history=_history(course.records),
            scored_by=self.recipe.score,
            scores=(_score(self.recipe.score, course.records, shown),),
            balanced_accuracy=shown.balanced_accuracy,
            majority=shown.majority,
            classes=shown.classes,
            mean_ap=shown.mean_ap,
            float_accuracy=(
                last.validation.figure.value if self.recipe.score_form == "int8" else None
            ),
            mae=shown.mae,
        )

    def _checkpoint(self, adapted: Architecture, seed: int) -> Checkpoint | None:
        if self.checkpoints is None:
            return None
        identity = {
            "architecture": adapted.digest,
            "recipe": self.recipe.digest,
            "data": self.data.provenance,
            "seed": str(seed),
            "device": self.place,
        }
        return Checkpoint.of(self.checkpoints, identity, self.notify)

    def _drop_checkpoints(self, adapted: Architecture) -> None:
        for seed in self.seeds:
            if checkpoint := self._checkpoint(adapted, seed):
                checkpoint.drop()


DEFAULT_RECIPE = "quick"


def choose_training(rest: str, recipe: str | None) -> EvaluatorChoice:
    """Choose a training by `recipe` for each candidate.

    Raises:
        ConfigError: If there is no such recipe, or text follows `recipe:`.
    """
    if rest:
        raise ConfigError("evaluator", f"recipe:{rest}", "must be recipe; recipe names the recipe")
    return choose_recipe(open_recipe(DEFAULT_RECIPE if recipe is None else recipe))


def choose_recipe(recipe: Recipe) -> EvaluatorChoice:
    """Choose a training by `recipe` for each candidate."""
    return EvaluatorChoice(
        words="recipe",
        short_name=recipe.name,
        recipe=recipe,
        open=partial(_open, recipe),
        trains=True,
        weights_by="training it again",
    )


def _open(recipe: Recipe, data: ImageData, setting: Setting) -> ProxyTraining:
    training = ProxyTraining(
        recipe,
        data,
        setting.seed,
        setting.threads,
        setting.device,
        setting.progress,
        setting.checkpoints,
        setting.notify,
    )
    training.teaching  # noqa: B018, refuses a teacher of other classes before the first candidate
    training.scale  # noqa: B018, refuses equal numbers in the same way
    try_score(recipe.score, training.subset.val.labels, training.subset.classes)
    return training


def _score(score: str, records: Sequence[PassRecord], shown: Validation) -> float:
    """Return the score of a training whose last validation is `shown`; higher is better.

    For `training_speed` it is minus the mean loss over all steps. It orders candidates like minus
    the sum, since all have the same steps, and stays comparable if a training was stopped.
    """
    if score != "training_speed":
        return shown.score(score)
    passes = [record.trained for record in records]
    return -sum(done.loss * done.images for done in passes) / sum(done.images for done in passes)


def _history(records: Sequence[PassRecord]) -> tuple[Epoch, ...]:
    return tuple(_epoch(record.trained, record.validated) for record in records)


def _epoch(done: Pass, validation: Validation | None) -> Epoch:
    if validation is None:
        return Epoch(done.loss, done.learning_rate)
    return Epoch(
        done.loss,
        done.learning_rate,
        accuracy=validation.accuracy,
        loss=None if validation.mae is not None else validation.loss,
        mean_ap=validation.mean_ap,
        mae=validation.mae,
    )
