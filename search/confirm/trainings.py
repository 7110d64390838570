"""The trainings of a confirmation: several at the same time, each in a process and resumable.

A training is a full one (`evaluate/full`) of the form that the search trained. A recipe for full
training trains the network itself. Each training has a folder with its checkpoint.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.full.training import FullRun, find_data_resolution
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.process_pool import in_processes
from nas_sv2.resolution import Resolution
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.confirmation_store import HeldOutScore, Training

THREADS = 1
"""CPU threads of each training; several run at a time."""


@dataclass(frozen=True, slots=True)
class Source:
    """The images of the trainings, as a worker opens them.

    Attributes:
        spec: The data's spec in the study.
        resolution: Resolution at which they are opened; None for the data's own.
        skip_unreadable: Whether images that cannot be read are left out.
        numbers: Whether labels are read as numbers.
    """

    spec: str
    resolution: Resolution | None
    skip_unreadable: bool
    numbers: bool = False

    def open(self, notify: Callable[[str], None] | None = None) -> ImageData:
        """Open the data; see `open_data` for `notify` and the errors."""
        return open_data(
            self.spec,
            resolution=self.resolution,
            skip_unreadable=self.skip_unreadable,
            notify=notify,
            numbers=self.numbers,
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Attributes:
        architecture: The network.
        recipe: The recipe.
        seed: Seed of weights, order and augmentation.
        out: Folder of checkpoint and logs; deleted once the score is kept.
    """

    architecture: Architecture
    recipe: Recipe
    seed: int
    out: Path

    def key(self, data: ImageData) -> Training:
        """The key under which the score is kept."""
        place = FullRun(self.recipe, data, self.out, threads=THREADS).place
        digest = self.architecture.digest
        return Training(digest, self.recipe.digest, data.provenance, self.seed, place)

    def train(self, data: ImageData) -> HeldOutScore:
        """Train to the end, or resume an earlier process, and test once on the test split.

        Raises:
            EvaluationError: If the loss is not finite.
            StoreError: If the folder holds another training, or cannot be read or written.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        run = FullRun(self.recipe, data, self.out, self.seed, threads=THREADS)
        trained = run.train(form_of(self.recipe, self.architecture, data))
        assert trained.test is not None, "refused before the first training"
        found, by = trained.test_int8 or trained.test, self.recipe.score
        return HeldOutScore(
            figures=found.figures(by),
            loss=None if data.kind == "numbers" else found.loss,
            images=found.images,
            train_images=sum(each.trained.images for each in trained.passes),
            seconds=trained.seconds,
            majority=found.majority,
            classes=found.classes,
            float_figures=None if trained.test_int8 is None else trained.test.figures(by),
        )

    def count_tested(self, data: ImageData) -> list[int]:
        """Return the number of test images of each class or label; none for numbers."""
        part = FullRun(self.recipe, data, self.out, threads=THREADS).test_part
        assert part is not None, "refused before the first training"
        if data.kind == "numbers":
            return []
        labels = part.labels
        counts = labels.sum(0) if data.kind == "labels" else labels.bincount()
        return [int(count) for count in counts]

    def finish(self) -> None:
        """Delete the folder: the score is kept elsewhere."""
        shutil.rmtree(self.out, ignore_errors=True)


def data_resolution_of(recipe: Recipe, architecture: Architecture) -> Resolution | None:
    """The resolution at which the data are opened; None for their own.

    Raises:
        ConfigError: If a recipe for full training cannot be followed with this network.
    """
    if recipe.full_training is None:
        return recipe.resolution
    return find_data_resolution(recipe, architecture)


def form_of(recipe: Recipe, architecture: Architecture, data: ImageData) -> Architecture:
    """The network that is trained: the form of a search, or the network itself if in full.

    Raises:
        ConfigError: If the recipe cannot be followed; names the field.
    """
    if recipe.full_training is not None:
        return architecture
    form = ProxyTraining(recipe, data, threads=THREADS).adapt(architecture)
    find_data_resolution(recipe, form)  # refuses a recipe that only a search can follow
    return form


def trained(jobs: Sequence[Job], source: Source, count: int) -> Iterator[tuple[Job, HeldOutScore]]:
    """Train all, `count` at a time, and yield each score as it comes.

    Raises:
        EvaluationError: If a training gives no accuracy, or its process is killed.
        StoreError: If a checkpoint cannot be read or written.
    """
    return in_processes(_train, jobs, count, "trains networks", partial(_open, source))


_opened: list[ImageData] = []
"""The data of a worker process."""


def _open(source: Source) -> None:
    _opened[:] = [source.open()]


def _train(job: Job) -> HeldOutScore:
    (data,) = _opened
    return job.train(data)
