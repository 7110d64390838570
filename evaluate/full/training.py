"""The training of a winner: the network itself, by one process or by several, until it is done.

It is the loop of the search (`fitting`) on the network as it stands: its resolution, its stem and
its widths, with channels and classes of the data. A run is one folder, in which a process that was
killed is followed by another to the same weights, bit by bit.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from nas_sv2.errors import ConfigError, EvaluationError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Normalise, centre_of
from nas_sv2.evaluate.fitting.batches import Batches, Supply
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.determinism import cpu_threads, default_threads, stream
from nas_sv2.evaluate.fitting.fit import Fit, Progress
from nas_sv2.evaluate.fitting.mixing import Mixed
from nas_sv2.evaluate.fitting.norms import settle
from nas_sv2.evaluate.fitting.subset import Subset, subset_of
from nas_sv2.evaluate.fitting.validation import Validation
from nas_sv2.evaluate.full.averaging import Average
from nas_sv2.evaluate.full.distributed import Processes, Share
from nas_sv2.evaluate.full.result import FullyTrained, PassRecord, pass_rows, read_record
from nas_sv2.evaluate.full.training_log import TrainingLog
from nas_sv2.evaluate.recipes.full import data_side
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.networks.network import Classifier
from nas_sv2.space.runtimes.torch_lowering import build_module, weights_of

CHECKPOINT = "training.checkpoint"
CHECKPOINT_SECONDS = 60.0  # what a kill may cost
DRAWN_EVERY = 50  # steps between two points of TensorBoard's training curves


@dataclass(frozen=True, eq=False)
class FullRun:
    """One full training, in its folder.

    Attributes:
        recipe: How.
        data: On what, opened at the side that `data_side` gives.
        out: The folder of checkpoint and logs.
        seed: Of weights, order and augmentation.
        processes: This process among those that train together.
        threads: CPU threads of a process; None as in `ProxyTraining`.
        device: `cpu`, `cuda` or `cuda:1`.
        progress: Called after each step with the steps done and the steps in all.
        told: Is told, in a line, that a training goes on.
    """

    recipe: Recipe
    data: ImageData
    out: Path
    seed: int = 0
    processes: Processes = field(default_factory=Processes)
    threads: int | None = None
    device: str = "cpu"
    progress: Progress | None = None
    told: Callable[[str], None] = lambda line: None

    def train(self, network: Classifier) -> FullyTrained:
        """Train `network` from fresh weights, or from where a process before this one left it.

        Raises:
            ConfigError: The recipe is not for this network, data or number of processes.
            EvaluationError: The loss is not finite; names step and learning rate.
            StoreError: The folder holds another training, or cannot be read or written.
        """
        side = data_side(self.recipe, network, self.device)
        if side != self.data.side:
            raise ConfigError("data side", self.data.side, f"images of {side} pixels")
        adapted = self.adapt(network)
        with cpu_threads(self.threads or default_threads()):
            module = build_module(lower(adapted), stream(self.seed, "weights"))
            module = module.to(self.device).to(memory_format=torch.channels_last)
            course = _Course.of(self, module, self._checkpoint(adapted))
            kept = course.run()
            test = self._test(kept)
        return FullyTrained(
            adapted,
            weights_of(kept),
            tuple(course.passes),
            test,
            course.seconds,
            self.normalise,
            self.place,
        )

    def adapt(self, network: Classifier) -> Classifier:
        """The form that is trained: `network` with channels and classes of the data."""
        return dataclasses.replace(
            network, channels=self.data.channels, classes=self.subset.classes
        )

    def finish(self) -> None:
        """Delete the checkpoint: what the training came to is kept elsewhere."""
        (self.out / CHECKPOINT).unlink(missing_ok=True)

    @property
    def place(self) -> str:
        """Where it trains; the last digits depend on it."""
        threads = self.threads or default_threads()
        kind = torch.device(self.device).type
        where = f"cpu, {threads} threads" if kind == "cpu" else torch.cuda.get_device_name()
        return where if self.processes.count == 1 else f"{self.processes.count} × {where}"

    @property
    def side(self) -> int | None:
        """What is cut out of validation images; None for all of them."""
        resolution = self.recipe.resolution
        return None if resolution == self.data.side else resolution

    @property
    def train_side(self) -> int | None:
        """Of what training images are brought to; None for what they have."""
        full = self.recipe.full_training
        if full is None or full.train_resolution is None:
            return self.side
        return None if full.train_resolution == self.data.side else full.train_resolution

    @cached_property
    def normalise(self) -> Normalise:
        """Grey levels to what the network takes: as they are where the recipe says `raw_input`."""
        full = self.recipe.full_training
        if full is not None and full.raw_input:
            return Normalise(torch.zeros(self.data.channels), torch.ones(self.data.channels))
        return Normalise.of(self.data.train.images)

    @cached_property
    def subset(self) -> Subset:
        """The part of the data that the recipe uses."""
        return subset_of(self.data, self.recipe)

    @cached_property
    def batches(self) -> Batches:
        """What is trained on, by all processes together."""
        return Batches.of(self.recipe, self.subset, self.normalise, self.device, self.train_side)

    @property
    def supply(self) -> Supply:
        """What this process trains on: its share, mixed as the recipe says."""
        share, full = self.processes.share(self.batches), self.recipe.full_training
        mixes = full is not None and (
            full.random_erase or full.mixup or full.cutmix or full.repeated_augmentation > 1
        )
        return Mixed(share, full, self.subset.classes) if full is not None and mixes else share

    def validate(self, module: nn.Module, last: bool) -> Validation:
        """Validate `module`, whose batch norms are settled first as the recipe says.

        Raises:
            EvaluationError: The validation loss is not finite.
        """
        recipe, full = self.recipe, self.recipe.full_training
        images = recipe.norm_images
        if last and full is not None:
            images = max(images, full.norm_steps * recipe.batch)
        if self.processes.first:
            share = self.processes.share(self.batches)
            local = share.local if isinstance(share, Share) else share
            settle(module, local, images, stream(self.seed, "norms"))
        self.processes.equalise_buffers(module)
        return self._validation(module, self.subset.val)

    def _test(self, module: nn.Module) -> Validation | None:
        if self.data.test is None:
            return None
        everything = dataclasses.replace(self.recipe, validation_images=None)
        held_out = dataclasses.replace(self.data, val=self.data.test)
        return self._validation(module, subset_of(held_out, everything).val)

    def _validation(self, module: nn.Module, part: Part) -> Validation:
        if self.side is not None:
            part = Part(centre_of(part.images, self.side), part.labels)
        found = self.processes.validate(module, part, self.normalise, self.device)
        if not math.isfinite(found.loss):
            raise EvaluationError(f"the loss is {found.loss} on images not trained on")
        return found

    def _checkpoint(self, adapted: Classifier) -> Checkpoint:
        identity = {
            "architecture": adapted.digest,
            "recipe": self.recipe.digest,
            "data": self.data.provenance,
            "seed": str(self.seed),
            "device": self.place,
            "torch": str(torch.__version__),
        }
        said: list[str] = []
        instead = "give another --out, or delete the file to begin anew"
        checkpoint = Checkpoint(self.out / CHECKPOINT, identity, said.append, instead)
        if checkpoint.load() is None and said:
            raise StoreError(f"in {self.out}, {said[0]}")
        return checkpoint


@dataclass(eq=False)
class _Course:
    """A training under way, with what came out so far."""

    whole: FullRun
    module: nn.Module
    fit: Fit
    average: Average | None
    checkpoint: Checkpoint
    passes: list[PassRecord] = field(default_factory=list)
    _earlier_s: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _saved: float = field(default_factory=time.perf_counter)
    _log: TrainingLog | None = None

    @classmethod
    def of(cls, whole: FullRun, module: nn.Module, checkpoint: Checkpoint) -> "_Course":
        """A training of `module`, not begun."""
        # Nobody asked for a winner to be given up half-way.
        recipe = dataclasses.replace(whole.recipe, hopeless_after=0.0)
        order = stream(whole.seed, "order")
        fit = Fit(whole.processes.wrapped(module), whole.supply, recipe, order)
        full = recipe.full_training
        keeps = full is not None and full.ema
        average = Average.of(module, fit.steps, recipe.warm_up) if keeps else None
        return cls(whole, module, fit, average, checkpoint)

    @property
    def seconds(self) -> float:
        """Spent on it, by this process and those before."""
        return self._earlier_s + time.perf_counter() - self._started

    def run(self) -> nn.Module:
        """Train to the end; the network that is kept."""
        self._resume()
        if self.whole.processes.first:
            self._log = TrainingLog.of(self.whole.out, self.fit.step)
        try:
            self.fit.after_step = self._after_step
            kept = self.module if self.average is None else self.average.module
            for done in self.fit.passes():
                last = len(self.passes) + 1 == self.whole.recipe.epochs
                found = self.whole.validate(kept, last)
                self.passes.append(PassRecord(self.fit.step, done, found))
                self._log_pass()
                self._save()
        finally:
            if self._log is not None:
                self._log.close()
        return kept

    def _resume(self) -> None:
        """Go on where a process before this one left it, if one has."""
        state = self.checkpoint.load()
        self.whole.processes.wait()  # none saves before all have read
        if state is None:
            return
        self.fit.restore(state["fit"])
        if self.average is not None:
            self.average.restore(state["average"])
        self.passes = [read_record(each) for each in state["passes"]]
        self._earlier_s = state["seconds"]
        line = f"going on at step {self.fit.step} of {self.fit.steps}"
        self.whole.told(f"{line} of a training that was interrupted")

    def _after_step(self, done: int, steps: int) -> None:
        if self.average is not None:
            self.average.follow(self.module, done)
        if self._log is not None and done % DRAWN_EVERY == 0:
            figures = {"pass/loss": self.fit.mean_loss, "learning rate": self.fit.learning_rate}
            self._log.draw(done, figures)
        if time.perf_counter() - self._saved >= CHECKPOINT_SECONDS:
            self._save()
        if self.whole.progress is not None:
            self.whole.progress(done, steps)

    def _save(self) -> None:
        """Keep all for a process after this one; the others' state is that of the first."""
        self._saved = time.perf_counter()
        if self._log is None:
            return
        self._log.flush()
        average = None if self.average is None else self.average.state()
        passes = [dataclasses.asdict(record) for record in self.passes]
        state = {"fit": self.fit.state(), "average": average, "passes": passes}
        self.checkpoint.save({**state, "seconds": self.seconds})

    def _log_pass(self) -> None:
        if self._log is None:
            return
        rows = pass_rows(self.passes, self.whole.processes.count)
        self._log.write(rows)
        names = ("train_loss", "val_accuracy", "val_loss", "images_per_second")
        step = self.passes[-1].step
        self._log.draw(step, {f"pass/{name}": float(rows[-1][name]) for name in names})
