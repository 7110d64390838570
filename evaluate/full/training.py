"""The full training of a chosen network, by one process or by several.

It is the loop of the search (`fitting`) on the network itself. Resolution, stem and widths stay,
unless another input is asked for (`at_input`). Channels and classes are those of the data. A run
is one folder, from which a later process resumes a killed training, to the same weights.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import nn

from nas_sv2.errors import ConfigError, EvaluationError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Normalise, centre_of
from nas_sv2.evaluate.fitting.batches import Batches, Mixed, Supply
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.course import Course, Learner, Progress
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.evaluator import check_batch, check_class_weights, trained_form
from nas_sv2.evaluate.fitting.int8_form import validate_int8
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.learners import Average, AveragingLearner, NetworkLearner
from nas_sv2.evaluate.fitting.own_metric import try_score
from nas_sv2.evaluate.fitting.start import Start
from nas_sv2.evaluate.fitting.subset import Subset, choose_subset
from nas_sv2.evaluate.fitting.teaching import Teaching
from nas_sv2.evaluate.fitting.validation import (
    Validation,
    describe_balance,
    describe_counts,
    refresh_norms,
)
from nas_sv2.evaluate.full.distributed import Processes
from nas_sv2.evaluate.full.int8_training import (
    Int8Training,
    check_int8_start,
    check_int8_training,
)
from nas_sv2.evaluate.full.result import FullyTrained
from nas_sv2.evaluate.full.training_log import TrainingLog
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.resolution import Resolution, in_pixels
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.torch_lowering import build_module, weights_of
from nas_sv2.space.runtimes.weights import Weights
from nas_sv2.space.units.architecture import Architecture

CHECKPOINT = "training.checkpoint"
CHECKPOINT_SECONDS = 60.0  # what a kill may cost
DRAWN_EVERY = 50  # steps between two points of TensorBoard's training curves


@dataclass(frozen=True, eq=False)
class FullRun:
    """One full training, in its folder.

    Attributes:
        recipe: The recipe.
        data: The images, opened at the resolution that `find_data_resolution` gives.
        out: The folder of checkpoint and logs.
        seed: Seed of weights, order and augmentation.
        processes: This process among those that train together.
        threads: CPU threads of a process.
        device: `cpu`, `cuda` or `cuda:1`.
        progress: Called after each step with the steps done and the steps in all.
        notify: Called with a line if the training is resumed, and on the weights it starts from.
        start: The weights to start from, and the parts that learn less; None for fresh weights.
        qat: Whether it trains with the rounding of int8.
    """

    recipe: Recipe
    data: ImageData
    out: Path
    seed: int = 0
    processes: Processes = field(default_factory=Processes)
    threads: int = 1
    device: str = "cpu"
    progress: Progress | None = None
    notify: Callable[[str], None] = lambda line: None
    start: Start | None = None
    qat: bool = False

    def train(self, network: Classifier) -> FullyTrained:
        """Train `network` from its start, or resume the training of an earlier process.

        Raises:
            ConfigError: If the recipe is not for this network, data or number of processes.
            EvaluationError: If the loss is not finite; names step and learning rate.
            StoreError: If the folder holds another training, or cannot be read or written.
        """
        size = find_data_resolution(self.recipe, network, self.device)
        if size != self.data.resolution:
            raise ConfigError("data resolution", self.data.resolution, f"must be {size} pixels")
        adapted = self.adapt(network)
        if not self.qat:  # whose norms are folded
            seen = self.train_resolution or self.data.resolution
            at_training = dataclasses.replace(adapted, resolution=seen)
            check_batch(self.recipe, at_training, self.processes.count, self.start)
        check_class_weights(self.recipe, self.data.kind)
        try_score(self.recipe.score, self.subset.val.labels, self.subset.classes)
        self._tell_counts()
        with cpu_threads(self.threads):
            scale = LabelScale.of(self.batches.labels)
            module = self._started(lower(adapted), scale)
            int8 = self._in_int8(adapted, module) if self.qat else None
            module = module if int8 is None else int8.rounded.module
            module = module.to(self.device).to(memory_format=torch.channels_last)
            average = self._average(module)
            course = self._begin(module, average, self._checkpoint(adapted))
            kept = module if average is None else average.module
            with course.telling_of_interrupts():
                self._run(course, kept)
                self._tell_limit(course.records[-1].validation)
                weights = weights_of(kept) if int8 is None else int8.rounded.weights
                weights = weights if scale is None else scale.folded(weights, lower(adapted))
                test = self._test(kept)
                in_int8_form = None if int8 is None else int8.result()
                in_int8 = self.recipe.score_form == "int8" and self.processes.first
                test_int8 = self._test_int8(adapted, weights) if in_int8 else None
        return FullyTrained(
            adapted,
            weights,
            tuple(course.records),
            test,
            test_int8,
            course.seconds,
            self.normalise,
            self.place,
            in_int8_form,
        )

    def _tell_counts(self) -> None:
        """Tell of uneven classes, or of the error of numbers that is to be beaten."""
        if self.data.kind == "numbers" and self.processes.first:
            for line in describe_balance(self.subset.val, self.data):
                self.notify(line)
        names = self.data.class_names
        if self.subset.classes == len(names) and self.processes.first:
            for line in describe_counts(self.batches.labels, names, self.recipe):
                self.notify(line)

    def _tell_limit(self, found: Validation) -> None:
        """Tell of a teacher that its student has outgrown."""
        if self.teaching is None or not self.processes.first:
            return
        if line := self.teaching.describe_limit(found.figure):
            self.notify(line)

    def adapt(self, network: Classifier) -> Classifier:
        """The form that is trained: `network` with channels and classes of the data."""
        return dataclasses.replace(
            network, channels=self.data.channels, classes=self.subset.classes
        )

    def finish(self) -> None:
        """Delete the checkpoint, once the result is kept elsewhere."""
        (self.out / CHECKPOINT).unlink(missing_ok=True)

    @property
    def place(self) -> str:
        """The processor; the last digits of results depend on it."""
        kind = torch.device(self.device).type
        where = f"cpu, {self.threads} threads" if kind == "cpu" else torch.cuda.get_device_name()
        return where if self.processes.count == 1 else f"{self.processes.count} × {where}"

    @property
    def centre(self) -> Resolution | None:
        """Resolution of the centre cut out of validation images; None for the whole image."""
        resolution = self.recipe.resolution
        return None if resolution == self.data.resolution else resolution

    @property
    def train_resolution(self) -> Resolution | None:
        """Resolution to which training images are brought; None for their own."""
        full = self.recipe.full_training
        if full is None or full.train_resolution is None:
            return self.centre
        return None if full.train_resolution == self.data.resolution else full.train_resolution

    @cached_property
    def normalise(self) -> Normalise:
        """The normalisation; grey levels stay as they are if the recipe says `raw_input`."""
        full = self.recipe.full_training
        if full is not None and full.raw_input:
            return Normalise(torch.zeros(self.data.channels), torch.ones(self.data.channels))
        return Normalise.of(self.data.train.images)

    @cached_property
    def teaching(self) -> Teaching | None:
        """The teacher of the recipe, opened; None if it has none."""
        return Teaching.of(
            self.recipe, self.data, self.normalise, self.device, self.threads, self.notify
        )

    @cached_property
    def subset(self) -> Subset:
        """The part of the data that the recipe uses."""
        return choose_subset(self.data, self.recipe)

    @cached_property
    def batches(self) -> Batches:
        """The batches of all processes together."""
        return Batches.of(
            self.recipe, self.subset, self.normalise, self.device, self.train_resolution
        )

    @property
    def supply(self) -> Supply:
        """The batches of this process: its share, mixed as the recipe says."""
        full = self.recipe.full_training
        if full is None or not (
            full.random_erase or full.mixup or full.cutmix or full.repeated_augmentation > 1
        ):
            return self.processes.share(self.batches)
        mixed = partial(Mixed, full=full, classes=self.subset.classes)
        return self.processes.share(self.batches, mixed)

    def validate(self, module: nn.Module, last: bool) -> Validation:
        """Refresh the batch norms of `module` as the recipe says, then validate it.

        Raises:
            EvaluationError: If the validation loss is not finite.
        """
        recipe, full = self.recipe, self.recipe.full_training
        images = recipe.norm_images
        if last and full is not None:
            images = max(images, full.norm_steps * recipe.batch)
        if self.processes.first and not self.qat:  # folded norms keep their statistics
            local = self.processes.local(self.batches)
            refresh_norms(module, local, images, stream(self.seed, "norms"))
        self.processes.equalise_buffers(module)
        return self._validation(module, self.subset.val)

    @cached_property
    def test_part(self) -> Part | None:
        """The test images of the recipe's classes; None if the data have none."""
        if self.data.test is None:
            return None
        everything = dataclasses.replace(self.recipe, validation_images=None)
        held_out = dataclasses.replace(self.data, val=self.data.test)
        return choose_subset(held_out, everything).val

    def _test(self, module: nn.Module) -> Validation | None:
        return None if self.test_part is None else self._validation(module, self.test_part)

    def _test_int8(self, network: Classifier, weights: Weights) -> Validation | None:
        part = self.test_part
        if part is None:
            return None
        score = self.recipe.score
        return validate_int8(network, weights, self.data.train, part, self.normalise, score)

    def _validation(self, module: nn.Module, part: Part) -> Validation:
        if self.centre is not None:
            part = Part(centre_of(part.images, self.centre), part.labels)
        score = self.recipe.score
        found = self.processes.validate(module, part, self.normalise, self.device, score)
        if not math.isfinite(found.loss):
            raise EvaluationError(f"the loss is {found.loss} on images not trained on")
        return found

    def _started(self, graph: Graph, scale: LabelScale | None) -> nn.Module:
        """Build the network with the weights that it starts from, at the scale of its labels."""
        module = build_module(graph, stream(self.seed, "weights"))
        if self.start is not None:
            taken = self.start.apply(module, graph)
            if self.start.source:
                self.notify(taken.describe(self.start.source))
            if scale is not None and scale.reaches(taken.names, graph):
                scale.unfold(module, graph)
        if scale is not None:
            scale.apply(module, graph)
        return module

    def _in_int8(self, adapted: Classifier, module: nn.Module) -> Int8Training:
        """Begin the training of `module` with the rounding of int8."""
        check_int8_training(self.recipe, self.start, self.processes.count)
        assert self.start is not None, "refused without weights"
        check_int8_start(adapted, self.start, self.data.val.labels)
        parts = (self.data.train, self.subset.val)
        return Int8Training.of(adapted, weights_of(module), *parts, self.normalise)

    def _checkpoint(self, adapted: Classifier) -> Checkpoint:
        identity = {
            "architecture": adapted.digest,
            "recipe": self.recipe.digest,
            "data": self.data.provenance,
            "seed": str(self.seed),
            "device": self.place,
            "torch": str(torch.__version__),
        }
        if self.start is not None:
            identity["start"] = self.start.digest
        if self.qat:
            identity["qat"] = "int8"
        said: list[str] = []
        instead = "name another folder, or delete the file to train from the start"
        checkpoint = Checkpoint(self.out / CHECKPOINT, identity, said.append, instead)
        if checkpoint.load() is None and said:
            raise StoreError(f"in {self.out}, {said[0]}")
        return checkpoint

    def _average(self, module: nn.Module) -> Average | None:
        """Make the average of the weights, if the recipe has one."""
        full = self.recipe.full_training
        if full is None or not full.ema:
            return None
        return Average.of(module, self.recipe.epochs * len(self.supply), self.recipe.warm_up)

    def _begin(self, module: nn.Module, average: Average | None, checkpoint: Checkpoint) -> Course:
        """Begin the course, or resume the one of an earlier process."""
        # A chosen network is trained to the end, even at chance.
        recipe = dataclasses.replace(self.recipe, hopeless_after=0.0)
        supply = self.supply
        learner: Learner = NetworkLearner.of(
            self.processes.wrapped(module),
            supply,
            recipe,
            {} if self.start is None else self.start.rates,
            self.teaching,
        )
        if average is not None:
            learner = AveragingLearner(learner, module, average)
        course = Course(
            learner,
            supply,
            recipe,
            stream(self.seed, "order"),
            checkpoint,
            CHECKPOINT_SECONDS,
            saves=self.processes.first,
            notify=self.notify,
            progress=self.progress or (lambda done, steps: None),
        )
        course.resume()
        self.processes.wait()  # no process saves before all have read
        return course

    def _run(self, course: Course, kept: nn.Module) -> None:
        """Train to the end; validate `kept` after each pass and log it."""
        log = None
        if self.processes.first:
            log = TrainingLog.of(self.out, course.step, self.notify)

        def draw(done: int, steps: int) -> None:
            if log is not None and done % DRAWN_EVERY == 0:
                figures = {"pass/loss": course.mean_loss, "learning rate": course.learning_rate}
                log.draw(done, figures)

        course.after_step = draw
        try:
            for done in course.passes():
                last = len(course.records) + 1 == self.recipe.epochs
                course.keep(done, self.validate(kept, last))
                if log is not None:
                    log.write_passes(course.records, self.processes.count)
                course.save()
        finally:
            if log is not None:
                log.close()


def at_input(network: Classifier, recipe: Recipe, resolution: Resolution) -> Classifier:
    """Return `network` for images of another resolution, in the form that a search trains.

    A network of the unit gets the stem of the recipe. One of another family keeps its own.

    Args:
        network: The network.
        recipe: The recipe of its training.
        resolution: Resolution of the images.

    Raises:
        ConfigError: If the network cannot take so small an input.
    """
    if isinstance(network, Architecture):
        return trained_form(network, recipe, resolution, network.channels, network.classes)
    return dataclasses.replace(network, resolution=resolution)


def find_data_resolution(recipe: Recipe, network: Classifier, device: str = "cpu") -> Resolution:
    """Return the resolution at which to open the data; crops are cut out of these images.

    Raises:
        ConfigError: If `network` cannot be trained by `recipe` on `device`; names the field.
    """
    size, full = network.resolution, recipe.full_training
    if full is not None and not isinstance(size, int):
        allowed = f"must have no full_training, whose images are squares: {in_pixels(size)} enter"
        raise ConfigError("recipe", recipe.name, allowed)
    if recipe.resolution not in (None, size):
        taken = size if isinstance(size, int) else in_pixels(size)
        other = in_pixels(recipe.resolution or size, "x")
        allowed = (
            f"must be {taken}, which the network takes; or give the input of the images, "
            f"as {other}x3"
        )
        raise ConfigError("recipe.resolution", recipe.resolution, allowed)
    for name in ("width_factor", "seeds"):
        if getattr(recipe, name) != 1:
            allowed = "must be 1 in a full training, which is one of the whole network"
            raise ConfigError(f"recipe.{name}", getattr(recipe, name), allowed)
    if recipe.precision == "fp16" and not device.startswith("cuda"):
        raise ConfigError("recipe.precision", "fp16", "must be fp32 or bf16 where there is no GPU")
    if full is None or not isinstance(size, int):  # the latter was refused above
        return size
    if recipe.resolution is None:
        allowed = f"must be {size} with full_training, whose validation_resize belongs to it"
        raise ConfigError("recipe.resolution", None, allowed)
    _check_crops(full, size, network)
    return full.validation_resize


def _check_crops(full: FullTraining, size: int, network: Classifier) -> None:
    """Refuse crops that are larger than the images that they are cut from."""
    if full.validation_resize < size:
        allowed = f"must be {size} or more, the side of the centre that is cut out"
        raise ConfigError("recipe.validation_resize", full.validation_resize, allowed)
    if full.train_resolution is not None:
        if full.train_resolution > full.validation_resize:
            allowed = (
                f"must be {full.validation_resize} or less, the side of the images that "
                "it is cut from"
            )
            raise ConfigError("recipe.train_resolution", full.train_resolution, allowed)
        dataclasses.replace(network, resolution=full.train_resolution)  # raises if it is too small
