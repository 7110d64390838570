"""A short training of one candidate, and how good it is afterwards.

Every draw comes from generators seeded by the seed alone: candidates see the same images in the
same order with the same flips and shifts, so that what differs between them is themselves.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.batches import Batches
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.determinism import cpu_threads, default_threads, stream
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation, Stops, Trained, mean_of
from nas_sv2.evaluate.fitting.fit import Fit, Pass, Progress
from nas_sv2.evaluate.fitting.norms import settle
from nas_sv2.evaluate.fitting.subset import Subset, subset_of
from nas_sv2.evaluate.fitting.validation import Validation, validate
from nas_sv2.evaluate.proxy.width_scaling import narrowed
from nas_sv2.evaluate.recipes.recipe import Recipe, Score
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module, weights_of
from nas_sv2.space.units.architecture import Architecture

CHECKPOINT_SECONDS = 30.0  # what a kill may cost; 20 MB in 0.05 s, under 1 % of the time


@dataclass(frozen=True, eq=False)
class ProxyTraining:
    """Trains candidates by one recipe on one data set; an `Evaluator`.

    Attributes:
        recipe: How.
        data: On what.
        seed: Of weights, order and augmentation.
        threads: CPU threads, set for the training and put back after it; None for two, or one on a
            single core. Another number rounds otherwise, and training carries that as far as
            another seed would: 89.9 % with two, 90.8 % with one (quick, V2 1x).
        device: A torch device, `cpu` or `cuda`.
        progress: Called after each step with the steps done and the steps in all.
        checkpoints: Folder of what a killed training goes on from; None for none. What is there of
            an evaluation is deleted when it has ended.
        told: Is told, in a line, that a training goes on, or why it does not.
    """

    recipe: Recipe
    data: ImageData
    seed: int = 0
    threads: int | None = None
    device: str = "cpu"
    progress: Progress | None = None
    checkpoints: Path | None = None
    told: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        """Refuse a recipe that is not for short trainings, or not for this device."""
        check_trainable(self.recipe, self.device)

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Train `architecture` and say how good it became; raises as `train` does."""
        return self.train(architecture).evaluation

    def adapt(self, architecture: Architecture) -> Architecture:
        """The form that is trained: input and classes of the data, stem and widths of the recipe.

        Raises:
            ConfigError: The total stride exceeds the side of the images.
        """
        return dataclasses.replace(
            narrowed(architecture, self.recipe.width_factor),
            resolution=self.data.side,
            channels=self.data.channels,
            classes=self.subset.classes,
            stem_stride=self.recipe.stem_stride,
            stem_pool=self.recipe.stem_pool,
        )

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """Train `architecture` from fresh weights and validate it, once for each seed.

        The weights are those of the first seed; after a training that was stopped no other begins.

        Args:
            architecture: The network.
            stops: May end the training of the first seed after a pass.

        Raises:
            ConfigError: The total stride exceeds the side of the images.
            EvaluationError: The loss is not finite; names step and learning rate.
            StoreError: A checkpoint cannot be read or written.
        """
        adapted = self.adapt(architecture)
        runs: list[Trained] = []
        try:
            for number, seed in enumerate(self.seeds):
                runs.append(self._train(adapted, number, seed, None if number else stops))
                if runs[-1].evaluation.stopped is not None:
                    break
        except EvaluationError:
            self._drop_checkpoints(adapted)  # it would only fail again
            raise
        self._drop_checkpoints(adapted)
        evaluation = mean_of([run.evaluation for run in runs])
        return Trained(evaluation, adapted, runs[0].weights)

    @property
    def seeds(self) -> Sequence[int]:
        """Of the trainings that are averaged; another `seed` has none of these."""
        count = self.recipe.seeds
        return range(self.seed * count, (self.seed + 1) * count)

    @property
    def place(self) -> str:
        """Where it trains, as evaluations record it; their last digits depend on it."""
        return f"cpu, {self.thread_count} threads" if self.device == "cpu" else self.device

    @property
    def thread_count(self) -> int:
        """How many CPU threads a training uses."""
        return self.threads or default_threads()

    @cached_property
    def normalise(self) -> Normalise:
        """Grey levels to what a network takes."""
        return Normalise.of(self.data.train.images)

    @cached_property
    def subset(self) -> Subset:
        """The images that the recipe uses."""
        return subset_of(self.data, self.recipe)

    @cached_property
    def batches(self) -> Batches:
        """Of its training images."""
        return Batches.of(self.recipe, self.subset, self.normalise, self.device)

    def _train(
        self, adapted: Architecture, number: int, seed: int, stops: Stops | None
    ) -> Trained:
        """The training of one seed, the `number`th."""
        with cpu_threads(self.thread_count):
            module = build_module(lower(adapted), stream(seed, "weights"))
            module = module.to(self.device).to(memory_format=torch.channels_last)
            fit = Fit(module, self.batches, self.recipe, stream(seed, "order"))
            course = _Course(fit, self._checkpoint(adapted, seed))
            if course.resume():
                before, steps = course.steps
                self.told(
                    f"going on at step {before} of {steps} of a training that was interrupted"
                )

            def after_step(done: int, steps: int) -> None:
                course.save_if_due()
                if self.progress is not None:
                    self.progress(number * steps + done, self.recipe.seeds * steps)

            fit.after_step = after_step
            for done in fit.passes():
                passed = len(course.passes) + 1
                last = done.stopped is not None or passed == self.recipe.epochs
                wanted = last or self.recipe.validate_each_epoch
                found = self.validated(module, seed) if wanted else None
                so_far = [_epoch(*one) for one in (*course.passes, (done, found))]
                reason = None if last or stops is None else stops(so_far)
                if reason is not None:  # not saved: one that is killed here asks again
                    found = found or self.validated(module, seed)
                    course.passes.append((dataclasses.replace(done, stopped=reason), found))
                    break
                course.passes.append((done, found))
                course.save()
        return Trained(self._evaluation(course, seed), adapted, weights_of(module))

    def validated(self, module: torch.nn.Module, seed: int) -> Validation:
        """How good `module` is once its batch norms have their statistics anew.

        Raises:
            EvaluationError: The loss is not finite.
        """
        settle(module, self.batches, self.recipe.norm_images, stream(seed, "norms"))
        validation = validate(module, self.subset.val, self.normalise, self.device)
        if not math.isfinite(validation.loss):
            raise EvaluationError(f"the validation loss is {validation.loss} after the training")
        return validation

    def _evaluation(self, course: "_Course", seed: int) -> Evaluation:
        passes = course.passes
        last, validation = passes[-1]
        assert validation is not None
        images = sum(done.images for done, _ in passes)
        return Evaluation(
            accuracy=validation.accuracy,
            loss=validation.loss,
            recipe=self.recipe.name,
            recipe_digest=self.recipe.digest,
            data=self.data.provenance,
            seed=self.seed,
            device=self.place,
            seconds=course.seconds,
            images_per_second=images / sum(done.seconds for done, _ in passes),
            epochs=len(passes),
            train_images=images,
            val_images=validation.images,
            stopped=last.stopped,
            history=tuple(_epoch(*one) for one in passes),
            scored_by=self.recipe.score,
            scores=(_score(self.recipe.score, passes, validation),),
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
        return Checkpoint.of(self.checkpoints, identity, self.told)

    def _drop_checkpoints(self, adapted: Architecture) -> None:
        for seed in self.seeds:
            if checkpoint := self._checkpoint(adapted, seed):
                checkpoint.drop()


def check_trainable(recipe: Recipe, device: str = "cpu") -> None:
    """Refuse a recipe that a short training cannot follow.

    Raises:
        ConfigError: Names the field.
    """
    full = recipe.full_training
    if full is not None:
        used = [
            field.name
            for field in dataclasses.fields(full)
            if getattr(full, field.name) != field.default
        ]
        raise ConfigError(
            "--recipe",
            recipe.name,
            "a recipe for candidates; this one is for full training, with " + ", ".join(used),
        )
    if recipe.precision == "fp16" and not device.startswith("cuda"):
        raise ConfigError("recipe precision", "fp16", "fp32 or bf16 where there is no GPU")


Passes = list[tuple[Pass, Validation | None]]


@dataclass
class _Course:
    """The training of one seed, with what came out so far; `checkpoint` keeps both."""

    fit: Fit
    checkpoint: Checkpoint | None
    passes: Passes = dataclasses.field(default_factory=list)
    _earlier_s: float = 0.0
    _started: float = dataclasses.field(default_factory=time.perf_counter)
    _saved: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Spent on it, by this process and those before."""
        return self._earlier_s + time.perf_counter() - self._started

    @property
    def steps(self) -> tuple[int, int]:
        """Done, and in all."""
        return self.fit.step, self.fit.steps

    def resume(self) -> bool:
        """Go on where a process before this one left it, if one has."""
        state = self.checkpoint.load() if self.checkpoint else None
        if state is None:
            return False
        self.fit.restore(state["fit"])
        self.passes = [_read_pass(*one) for one in state["passes"]]
        self._earlier_s = state["seconds"]
        return True

    def save_if_due(self) -> None:
        """Save if the last time is long ago."""
        if time.perf_counter() - self._saved >= CHECKPOINT_SECONDS:
            self.save()

    def save(self) -> None:
        """Keep all for a process after this one."""
        self._saved = time.perf_counter()
        if self.checkpoint is None:
            return
        passes = [
            [dataclasses.asdict(done), None if found is None else dataclasses.asdict(found)]
            for done, found in self.passes
        ]
        state = {"fit": self.fit.state(), "passes": passes, "seconds": self.seconds}
        self.checkpoint.save(state)


def _read_pass(
    done: Mapping[str, Any], found: Mapping[str, Any] | None
) -> tuple[Pass, Validation | None]:
    return Pass(**done), None if found is None else Validation(**found)


def _score(score: Score, passes: Passes, validation: Validation) -> float:
    """Higher is better.

    For `training_speed` it is minus the mean loss over all steps: in the order of minus the sum,
    since all candidates have the same steps, and fair to one that was stopped after a few.
    """
    if score == "accuracy":
        return validation.accuracy
    if score == "cross_entropy":
        return -validation.loss
    images = sum(done.images for done, _ in passes)
    return -sum(done.loss * done.images for done, _ in passes) / images


def _epoch(done: Pass, validation: Validation | None) -> Epoch:
    return Epoch(
        done.loss,
        done.learning_rate,
        None if validation is None else validation.accuracy,
        None if validation is None else validation.loss,
    )
