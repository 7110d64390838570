"""The trainings of a confirmation: several at a time, each of which a kill does not undo.

A training is a full one (`evaluate.full_training`) of the form that the search trained, or, by a
recipe for full training, of the network as it stands. Each has a folder with its checkpoint, and
its score is handed over as soon as it is done.
"""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.open_data import open_data
from nas_sv2.evaluate.full.training import FullRun, find_data_side
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.test_accuracies import HeldOutScore, Training

THREADS = 1
"""Of each training; several run at a time."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where images come from, as a worker opens them.

    Attributes:
        spec: As the study has it.
        side: At which side they are opened; None for the data's own.
        skip_unreadable: Whether images that cannot be read are left out.
    """

    spec: str
    side: int | None
    skip_unreadable: bool

    def open(self) -> ImageData:
        """The data; raises as `open_data`."""
        return open_data(self.spec, resolution=self.side, skip_unreadable=self.skip_unreadable)


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Attributes:
        architecture: The network that is asked about.
        recipe: How.
        seed: Of weights, order and augmentation.
        out: Folder of its checkpoint and logs; gone when its score is had.
    """

    architecture: Architecture
    recipe: Recipe
    seed: int
    out: Path

    def key(self, data: ImageData) -> Training:
        """What its score is kept under."""
        place = FullRun(self.recipe, data, self.out, threads=THREADS).place
        digest = self.architecture.digest
        return Training(digest, self.recipe.digest, data.provenance, self.seed, place)

    def train(self, data: ImageData) -> HeldOutScore:
        """Train to the end, from where an earlier process left it, and ask the test split once.

        Raises:
            EvaluationError: The loss is not finite.
            StoreError: The folder holds another training, or cannot be read or written.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        run = FullRun(self.recipe, data, self.out, self.seed, threads=THREADS)
        trained = run.train(form_of(self.recipe, self.architecture, data))
        assert trained.test is not None, "refused before the first training"
        return HeldOutScore(
            accuracy=trained.test.accuracy,
            loss=trained.test.loss,
            images=trained.test.images,
            val_accuracy=trained.validation.accuracy,
            train_images=sum(each.trained.images for each in trained.passes),
            seconds=trained.seconds,
        )

    def finish(self) -> None:
        """Delete the folder: the score is kept elsewhere."""
        shutil.rmtree(self.out, ignore_errors=True)


def side_of(recipe: Recipe, architecture: Architecture) -> int | None:
    """The side at which the data are opened; None for their own.

    Raises:
        ConfigError: A recipe for full training cannot be followed with this network.
    """
    return (
        recipe.resolution if recipe.full_training is None else find_data_side(recipe, architecture)
    )


def form_of(recipe: Recipe, architecture: Architecture, data: ImageData) -> Architecture:
    """What is trained: as in a search, or by a recipe for full training the network itself.

    Raises:
        ConfigError: The recipe cannot be followed; names the field.
    """
    if recipe.full_training is not None:
        return architecture
    form = ProxyTraining(recipe, data, threads=THREADS).adapt(architecture)
    find_data_side(recipe, form)  # refuses what only a search can do
    return form


def trained(jobs: Sequence[Job], source: Source, count: int) -> Iterator[tuple[Job, HeldOutScore]]:
    """Train all, `count` at a time; each score as it comes.

    Raises:
        EvaluationError: A training gave no accuracy, or its process was killed.
        StoreError: A checkpoint cannot be read or written.
    """
    if not jobs:
        return
    others = multiprocessing.active_children()
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, spawning, _begin, (source,)) as pool:
        running = {pool.submit(_train, job): job for job in jobs}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BrokenProcessPool as error:
            raise EvaluationError(
                "a training process was killed; the same command goes on"
            ) from error
        except BaseException:  # an interrupt too: nothing is waited for
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_opened: list[ImageData] = []
"""What a worker process trains on."""


def _begin(source: Source) -> None:
    """Open the data; from here on this process ends when the one that started it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; that one decides
    parent = multiprocessing.parent_process()
    assert parent is not None, "run by a pool"

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _opened[:] = [source.open()]


def _train(job: Job) -> HeldOutScore:
    (data,) = _opened
    return job.train(data)
