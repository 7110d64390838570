"""The training of a detector, resumed after a kill to the same weights.

The course of steps, its checkpoint and its optimiser are those of full trainings of classifiers
(`fitting`); losses and sampling are torchvision's. The whole network is trained from the first
step, with its batch norms. The paper's detectors start from ImageNet and freeze the norms.
The backbone can start from weights of a classifier; the head is always fresh.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_sv2.documents import name_errors, read_document
from nas_sv2.errors import ConfigError, EvaluationError, StoreError
from nas_sv2.evaluate.detection.anchors import AnchorFit, anchor_fit
from nas_sv2.evaluate.detection.detector import Detector, build_detector
from nas_sv2.evaluate.detection.scenes import SceneBatches, SceneData, as_targets
from nas_sv2.evaluate.detection.score import DetectionScore, score
from nas_sv2.evaluate.detection.ssdlite import EXTRA
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.course import Course, PassRecord, Progress, Step
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.evaluator import ONE_PIXEL
from nas_sv2.evaluate.fitting.learners import make_optimiser
from nas_sv2.evaluate.fitting.start import Start
from nas_sv2.evaluate.recipes.files import (
    FILE_ENDINGS,
    recipe_from_document,
    recipe_to_document,
)
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.files import write_whole

CHECKPOINT, LOG = "training.checkpoint", "log.csv"
CHECKPOINT_SECONDS = 60.0  # what a kill may cost
STEEPEST = 10.0
"""Norm to which a steeper gradient is cut: from fresh weights the first steps can diverge."""
DETECTOR_RECIPE = Recipe(
    "detector",
    30,
    stem_stride=None,
    stem_pool=None,
    batch=8,
    learning_rate=1e-3,
    warm_up=0.1,
    optimiser="adamw",
    weight_decay=1e-4,
    label_smoothing=0.0,
    shift=0,
    norm_images=0,
    hopeless_after=0.0,
    score="box_ap",
)
"""The decay is that of Light-Head R-CNN's released code, which starts from ImageNet with SGD.

From fresh weights SGD learnt no box of 16 images in 150 steps, and AdamW did."""
QUICK = replace(DETECTOR_RECIPE, name="detector-quick", epochs=4, learning_rate=2e-3)
"""The default of a search: a short training of each candidate."""
RECIPES = {recipe.name: recipe for recipe in (DETECTOR_RECIPE, QUICK)}
CHANGEABLE = frozenset(
    (
        *("name", "epochs", "images_per_epoch", "batch", "learning_rate", "warm_up", "schedule"),
        *("optimiser", "momentum", "nesterov", "weight_decay", "flip"),
    )
)


def open_detector_recipe(text: str) -> Recipe:
    """Open one of `RECIPES`, or a file with the fields that differ from `detector`.

    Raises:
        ConfigError: There is no such recipe, or a field has no meaning for a detector.
    """
    if text in RECIPES:
        return RECIPES[text]
    path = Path(text)
    if path.suffix not in FILE_ENDINGS:
        allowed = f"must be {', '.join(RECIPES)}, or a file that ends in .yaml, for a detector"
        raise ConfigError("recipe", text, allowed)
    document = read_document(path, "recipe")
    return name_errors(f"{path}: ", lambda data: _over_default(data, path), document)


def _over_default(document: object, path: Path) -> Recipe:
    fields: Mapping[Any, Any] = document if isinstance(document, Mapping) else {}
    for name, value in fields.items():
        default = getattr(DETECTOR_RECIPE, str(name), value)
        if name not in CHANGEABLE and value != default:
            raise ConfigError(str(name), value, f"must be {default!r} for a detector")
    base = {**recipe_to_document(DETECTOR_RECIPE), "name": path.stem}
    return recipe_from_document({**base, **fields} if fields else document, path.stem)


def check_batch(recipe: Recipe, data: SceneData) -> None:
    """Refuse a batch that the training images do not fill.

    Raises:
        ConfigError: There are fewer images.
    """
    images = min(recipe.images_per_epoch or len(data.train), len(data.train))
    if images < recipe.batch:
        allowed = f"must be at most {images}, the number of training images"
        raise ConfigError("recipe.batch", recipe.batch, allowed)


def check_norms(recipe: Recipe, detector: Detector) -> None:
    """Refuse steps of one image if a batch norm then has one number a channel.

    Raises:
        ConfigError: The recipe has such steps.
    """
    last = detector.trunk.tail.output
    halved = 2 ** len(EXTRA) if detector.head == "ssdlite" else 1
    if recipe.batch == 1 and max(last.height, last.width) <= halved:
        raise ConfigError("recipe.batch", 1, ONE_PIXEL)


def place_of(device: str, threads: int) -> str:
    """Name the processor of a training on a torch device, as results record it."""
    return f"cpu, {threads} threads" if device == "cpu" else torch.cuda.get_device_name()


@dataclass(eq=False)
class DetectorLearner:
    """A detector that learns in place; a `Learner`.

    Attributes:
        module: The detector.
        recipe: The recipe.
        seed: Seed of the boxes that torchvision samples.
    """

    module: nn.Module
    recipe: Recipe
    seed: int

    def __post_init__(self) -> None:
        """Make the optimiser."""
        self._optimiser = make_optimiser(self.module, self.recipe)

    def begin_pass(self) -> None:
        """Put the detector into training mode."""
        self.module.train()

    def learn(self, step: Step, inputs: Tensor, labels: Tensor) -> tuple[float, str | None]:
        """Take one step of the optimiser; see `Learner.learn`."""
        for group in self._optimiser.param_groups:
            group["lr"] = step.learning_rate
        device = [inputs.device] if inputs.device.type == "cuda" else []
        with torch.random.fork_rng(devices=device):  # torchvision draws from torch's generator
            seed = stream(self.seed, f"boxes:{step.number}").initial_seed()
            torch.default_generator.manual_seed(seed)  # and no GPU of the user's
            for gpu in device:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            losses = self.module(list(inputs), as_targets(labels))
        loss = torch.stack(list(losses.values())).sum()
        value = float(loss.detach())
        step.check_finite(value)
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.module.parameters(), STEEPEST)
        self._optimiser.step()
        return value, None

    def state(self) -> dict[str, Any]:
        """Return weights and optimiser."""
        return {"model": self.module.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to the point at which `state` was taken."""
        self.module.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])


@dataclass(frozen=True, eq=False)
class TrainedDetector:
    """A detector after its training.

    Attributes:
        module: The detector, on the CPU and in evaluation mode.
        records: The passes; empty if it was loaded.
        score: Its score on the validation images.
        seconds: Wall time of the training, of all its processes.
        place: The processor; the last digits of results depend on it.
        anchors: How the anchors fit the boxes of the training images.
    """

    module: nn.Module
    records: tuple[PassRecord, ...]
    score: DetectionScore
    seconds: float
    place: str
    anchors: AnchorFit


@dataclass(frozen=True, eq=False)
class DetectorRun:
    """One training of a detector, in its folder.

    Attributes:
        detector: The detector.
        data: The images.
        recipe: The recipe.
        out: The folder of checkpoint and log.
        seed: Seed of weights, order and sampling.
        threads: CPU threads.
        device: `cpu` or `cuda:0`.
        progress: Called after each step with the steps done and the steps in all.
        notify: Called with a line on the weights it starts from, and if the training is resumed.
        start: The weights that the backbone starts from; None for fresh ones.
    """

    detector: Detector
    data: SceneData
    recipe: Recipe
    out: Path
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    progress: Progress = lambda done, steps: None
    notify: Callable[[str], None] = lambda line: None
    start: Start | None = None

    def train(self) -> TrainedDetector:
        """Train, or resume the training of an earlier process.

        Raises:
            ConfigError: There are fewer images than a batch has, or the weights to start from are
                of another network.
            EvaluationError: The loss is not finite, or an image cannot be read.
            StoreError: The folder holds another training, or cannot be read or written.
        """
        check_batch(self.recipe, self.data)
        check_norms(self.recipe, self.detector)
        detector = self.detector
        with cpu_threads(self.threads):
            module = self._started().to(self.device)
            course = self._course(module)
            with course.telling_of_interrupts():
                for done in course.passes():
                    course.keep(done)
                    self._write_log(course.records)
                    course.save()
            found = score(
                module,
                self.data.val,
                len(self.data.categories),
                detector.height,
                detector.width,
                self.device,
            )
        if found.mmap_percent is None:
            raise EvaluationError("the validation images have no box to score")
        records, seconds = tuple(course.records), course.seconds
        module = module.cpu().eval()
        return TrainedDetector(module, records, found, seconds, self.place, self.anchors)

    def finish(self) -> None:
        """Delete the checkpoint, once the result is kept elsewhere."""
        (self.out / CHECKPOINT).unlink(missing_ok=True)

    @property
    def place(self) -> str:
        """The processor; the last digits of results depend on it."""
        return place_of(self.device, self.threads)

    @cached_property
    def anchors(self) -> AnchorFit:
        """How the anchors fit the boxes of the training images."""
        module = build_detector(self.detector, self.seed).eval()
        return anchor_fit(self.detector, module, self.data.train)

    @cached_property
    def batches(self) -> SceneBatches:
        """The batches."""
        detector, recipe = self.detector, self.recipe
        return SceneBatches(
            self.data.train,
            detector.height,
            detector.width,
            recipe.batch,
            recipe.flip,
            recipe.images_per_epoch,
            self.device,
        )

    def _started(self) -> nn.Module:
        """Build the detector with the weights that its backbone starts from."""
        module: Any = build_detector(self.detector, self.seed)
        if self.start is not None:
            taken = module.backbone.backbone.take(self.start, self.detector.trunk)
            self.notify(taken.describe(self.start.source))
        built: nn.Module = module
        return built

    def _course(self, module: nn.Module) -> Course:
        course = Course(
            DetectorLearner(module, self.recipe, self.seed),
            self.batches,
            self.recipe,
            stream(self.seed, "order"),
            self._checkpoint(),
            CHECKPOINT_SECONDS,
            notify=self.notify,
            progress=self.progress,
        )
        course.resume()
        return course

    @property
    def identity(self) -> dict[str, str]:
        """All that the bits of the training depend on, by name."""
        identity = {
            "detector": self.detector.digest,
            "recipe": self.recipe.digest,
            "data": self.data.provenance,
            "seed": str(self.seed),
            "device": self.place,
            "torch": str(torch.__version__),
        }
        if self.start is not None:
            identity["start"] = self.start.digest
        return identity

    def _checkpoint(self) -> Checkpoint:
        said: list[str] = []
        instead = "name another folder, or delete the file to train from the start"
        checkpoint = Checkpoint(self.out / CHECKPOINT, self.identity, said.append, instead)
        if checkpoint.load() is None and said:
            raise StoreError(f"in {self.out}, {said[0]}")
        return checkpoint

    def _write_log(self, records: list[PassRecord]) -> None:
        """Write a row for each pass; the file is written whole, so that no pass is there twice."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["pass", "step", "learning_rate", "train_loss", "images", "train_seconds"])
        for number, record in enumerate(records, 1):
            one = record.trained
            table.writerow(
                [
                    number,
                    record.step,
                    one.learning_rate,
                    one.loss,
                    one.images,
                    round(one.seconds, 3),
                ]
            )
        try:
            write_whole(self.out / LOG, text.getvalue().encode())
        except OSError as error:
            raise StoreError(f"{self.out / LOG} cannot be written: {error}") from error
