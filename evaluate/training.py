"""A short training of one candidate, and how good it is afterwards.

Every draw comes from generators seeded by the seed alone: candidates see the same images in the
same order with the same flips and shifts, so that what differs between them is themselves.
"""

import dataclasses
import math
import time
from dataclasses import dataclass
from functools import cached_property

import torch

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.augment import FlipShift, Normalise
from nas_sv2.evaluate.batches import Batches
from nas_sv2.evaluate.determinism import cpu_threads, default_threads, stream
from nas_sv2.evaluate.evaluation import Epoch, Evaluation, Trained
from nas_sv2.evaluate.fitting import Pass, Progress, fit
from nas_sv2.evaluate.image_data import ImageData, channel_statistics
from nas_sv2.evaluate.norms import settle
from nas_sv2.evaluate.recipes import Recipe
from nas_sv2.evaluate.validation import Validation, some_of, validate
from nas_sv2.space.architecture import Architecture
from nas_sv2.space.lowering import lower
from nas_sv2.space.torch_lowering import build_module, weights_of


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
    """

    recipe: Recipe
    data: ImageData
    seed: int = 0
    threads: int | None = None
    device: str = "cpu"
    progress: Progress | None = None

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Train `architecture` and say how good it became; raises as `train` does."""
        return self.train(architecture).evaluation

    def adapt(self, architecture: Architecture) -> Architecture:
        """The form that is trained: input and classes of the data, stem of the recipe.

        Raises:
            ConfigError: The total stride exceeds the side of the images.
        """
        return dataclasses.replace(
            architecture,
            resolution=self.data.side,
            channels=self.data.channels,
            classes=self.data.classes,
            stem_stride=self.recipe.stem_stride,
            stem_pool=self.recipe.stem_pool,
        )

    def train(self, architecture: Architecture) -> Trained:
        """Train `architecture` from fresh weights and validate it.

        Raises:
            ConfigError: The total stride exceeds the side of the images.
            EvaluationError: The loss is not finite; names step and learning rate.
        """
        started = time.perf_counter()
        adapted = self.adapt(architecture)
        passes: list[tuple[Pass, Validation | None]] = []
        with cpu_threads(self.thread_count):
            module = build_module(lower(adapted), stream(self.seed, "weights"))
            module = module.to(self.device).to(memory_format=torch.channels_last)
            order = stream(self.seed, "order")
            for done in fit(module, self._batches, self.recipe, order, self.progress):
                last = done.stopped is not None or len(passes) + 1 == self.recipe.epochs
                wanted = last or self.recipe.validate_each_epoch
                passes.append((done, self._validate(module) if wanted else None))
        evaluation = self._evaluation(passes, time.perf_counter() - started)
        return Trained(evaluation, adapted, weights_of(module))

    @property
    def place(self) -> str:
        """Where it trains, as evaluations record it; their last digits depend on it."""
        return f"cpu, {self.thread_count} threads" if self.device == "cpu" else self.device

    @property
    def thread_count(self) -> int:
        """How many CPU threads a training uses."""
        return self.threads or default_threads()

    @cached_property
    def _normalise(self) -> Normalise:
        return Normalise(*channel_statistics(self.data.train.images))

    @cached_property
    def _batches(self) -> Batches:
        return Batches(
            self.data.train,
            FlipShift(self.recipe.flip, self.recipe.shift),
            self._normalise,
            self.recipe.batch,
            self.recipe.images_per_epoch,
            self.device,
        )

    def _validate(self, module: torch.nn.Module) -> Validation:
        settle(module, self._batches, self.recipe.norm_images, stream(self.seed, "norms"))
        part = some_of(self.data.val, self.recipe.validation_images)
        validation = validate(module, part, self._normalise, self.device)
        if not math.isfinite(validation.loss):
            raise EvaluationError(f"the validation loss is {validation.loss} after the training")
        return validation

    def _evaluation(
        self, passes: list[tuple[Pass, Validation | None]], seconds: float
    ) -> Evaluation:
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
            seconds=seconds,
            images_per_second=images / sum(done.seconds for done, _ in passes),
            epochs=len(passes),
            train_images=images,
            val_images=validation.images,
            stopped=last.stopped,
            history=tuple(_epoch(*one) for one in passes),
        )


def _epoch(done: Pass, validation: Validation | None) -> Epoch:
    return Epoch(
        done.loss,
        done.learning_rate,
        None if validation is None else validation.accuracy,
        None if validation is None else validation.loss,
    )
