"""Recipes, how well one ranks, and trainings outside a search: one network, or a supernet."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta

from nas_sv2.api.arguments import Notify, Progress, checked, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.documents import AboveZero, Seed, check_value
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.determinism import check_workers
from nas_sv2.evaluate.fitting.evaluator import check_trainable
from nas_sv2.evaluate.fitting.start import Start
from nas_sv2.evaluate.full.distributed import Processes
from nas_sv2.evaluate.full.int8_training import check_int8_training
from nas_sv2.evaluate.full.training import FullRun, at_input, find_data_resolution
from nas_sv2.evaluate.recipes.files import open_recipe, with_teacher
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.trained import SavedSupernet, save_supernet
from nas_sv2.evaluate.supernet.trained import check_unfinished as check_unfinished_supernet
from nas_sv2.evaluate.supernet.training import SupernetTraining, check_supernet_recipe
from nas_sv2.files import making_folder
from nas_sv2.resolution import Resolution
from nas_sv2.search.qualification import QualifyRequest as QualifyRequest
from nas_sv2.search.qualification import qualify as certify
from nas_sv2.search.session.guidelines import supernet_guidelines
from nas_sv2.search.session.timed_input import read_input
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.weights import Weights
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.package.folder import check_unfinished
from nas_sv2.studies.package.forms import check_formats
from nas_sv2.studies.package.full_package import write_full_package
from nas_sv2.studies.package.starting_weights import find_starting_weights
from nas_sv2.studies.storage.named_networks import named


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How a network or a supernet is trained.

    Attributes:
        data: The images.
        recipe: A built-in recipe or a file.
        seed: Seed of weights, order and augmentation.
        device: `cpu` or `cuda`; `cuda`, if there is a GPU, if left out.
        train_threads: CPU threads of a process.
        skip_unreadable: Leave out images that cannot be read.
    """

    data: str
    recipe: str = "paper"
    seed: int = 0
    device: str | None = None
    train_threads: int = 1
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        """Refuse a seed or a number of threads that cannot be used."""
        check_value("seed", self.seed, Seed)
        check_workers(self.train_threads, "train_threads")


def is_first_process() -> bool:
    """Whether this process of a training speaks for all of them (`torchrun` starts several)."""
    return Processes.of(os.environ).first


@checked
def train(
    network: Classifier | str,
    folder: Path | str,
    *,
    data: str,
    recipe: str = "paper",
    input: str | None = None,
    seed: int = 0,
    device: str | None = None,
    train_threads: int = 1,
    skip_unreadable: bool = False,
    weights: str | None = None,
    freeze: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    teacher: str | None = None,
    temperature: float | None = None,
    qat: bool = False,
    forms: Sequence[str] = ("onnx",),
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
    progress: Progress = ignore,
) -> dict[str, Any] | None:
    """Train a network: checkpoints, logs, weights and models in a folder.

    The same call resumes a training that was killed. A part of a network has a name such as
    `stem`, `stage2` or `stage3.0`.

    Args:
        network: A network, the name of a hand-designed one, a file, or `STUDY:NUMBER`.
        folder: Folder to write.
        data: The images.
        recipe: A built-in recipe or a file.
        input: Input to bring the network to, as `64x64x3`: it gets the stem of the recipe, as in
            a search. Its own input and stem if left out.
        seed: Seed of weights, order and augmentation.
        device: `cpu` or `cuda`; `cuda`, if there is a GPU, if left out.
        train_threads: CPU threads of a process.
        skip_unreadable: Leave out images that cannot be read.
        weights: Weights to start from: a folder of an exported network or of a supernet,
            `FILE.safetensors`, a file of torchvision's weights, `torchvision:NAME` or
            `STUDY:NUMBER`. Those are taken whose name and shape fit.
        freeze: Parts that do not learn; their batch norms keep their statistics too.
        rates: Factors of the recipe's learning rate, by part.
        teacher: A network whose answers are learnt too: a folder of an exported network,
            `FILE.onnx`, or the `module:attribute` of a torch module.
        temperature: Temperature of the teacher's answers; that of the recipe, or 4, if left out.
        qat: Train with the rounding of int8, from the weights of this very network.
        forms: Formats of the models, of `onnx`, `tflite` and `ncnn`.
        storage: The URL of the database of studies, or the `db` of a study.
        notify: Is called with a line before each step.
        progress: Is called with the steps done and all steps.

    Returns:
        The metrics; None in a process that is not the first of several.

    Raises:
        ConfigError: A value is not allowed, or the folder holds another training.
        EvaluationError: The training failed.
        StoreError: A file cannot be read or written.
    """
    plan = TrainingPlan(data, recipe, seed, device, train_threads, skip_unreadable)
    db = database_of(storage)
    chosen = with_teacher(open_recipe(plan.recipe), teacher, temperature)
    asked = named(network, db)
    taken = asked.network if input is None else _at_input(asked.network, chosen, input)
    start = _start_of(weights, tuple(freeze), dict(rates or {}), taken, db)
    processes = Processes.of(os.environ)
    place = training_device(plan.device, processes.local_rank)
    size = find_data_resolution(chosen, taken, place)
    if qat:
        check_int8_training(chosen, start, processes.count)
    check_formats(forms)
    check_unfinished(Path(folder))
    with making_folder(Path(folder)) as out, processes.joined(place):
        if not processes.first:
            processes.wait()  # the first decodes what is not decoded yet, the others read it
        opened = _open_images(plan, size, notify, progress, chosen.numbers)
        _check_channels(input, opened)
        if processes.first:
            processes.wait()
        run = FullRun(
            chosen,
            opened,
            out,
            plan.seed,
            processes,
            plan.train_threads,
            place,
            progress,
            notify,
            start,
            qat,
        )
        trained = run.train(taken)
        if not processes.first:
            return None
        with _telling_of_interrupts(notify):
            metrics = write_full_package(run, trained, asked.name, forms)
        run.finish()
        return metrics


@contextmanager
def _telling_of_interrupts(notify: Notify) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        notify("interrupted after the last pass; the same command writes the files")
        raise


def _at_input(network: Classifier, recipe: Recipe, text: str) -> Classifier:
    size, _ = read_input(text)
    try:
        return at_input(network, recipe, size)
    except ConfigError as error:
        allowed = f"must fit the network, whose {error.field} {error.sentence}"
        raise ConfigError("input", text, allowed) from None


def _check_channels(text: str | None, data: ImageData) -> None:
    """Refuse an input of other channels than the images have."""
    if text is not None and read_input(text)[1] != data.channels:
        allowed = f"must have the channels of the images, which are {data.channels}"
        raise ConfigError("input", text, allowed)


def _open_images(
    plan: TrainingPlan,
    resolution: Resolution | None,
    notify: Notify,
    progress: Progress = ignore,
    numbers: bool = False,
) -> ImageData:
    return open_data(
        plan.data,
        resolution=resolution,
        skip_unreadable=plan.skip_unreadable,
        notify=notify,
        progress=progress,
        numbers=numbers,
    )


def _start_of(
    words: str | None,
    freeze: tuple[str, ...],
    rates: Mapping[str, float],
    network: Classifier,
    db: Database,
) -> Start | None:
    """Find the weights to start from, and refuse those of another network before data are read."""
    for part, factor in rates.items():
        check_value(f"rates {part}", factor, AboveZero)
    if words is None and not freeze and not rates:
        return None
    weights: Weights = {} if words is None else find_starting_weights(words, network, db)
    Start(weights, words or "").check(lower(network))
    return Start(weights, words or "", freeze, rates)


NetworksAStep = Annotated[int, Meta(ge=0, le=1000)]


def train_supernet(
    space: str,
    folder: Path,
    plan: TrainingPlan,
    *,
    networks: int = 2,
    guidelines: str = "paper",
    notify: Notify = ignore,
    progress: Progress = ignore,
) -> SavedSupernet:
    """Train the shared weights of all networks of a space.

    The same call resumes a training that was killed.

    Args:
        space: A built-in space or a file.
        folder: Folder to write.
        plan: How to train; on the CPU.
        networks: Random networks a step, beside the largest and the smallest.
        guidelines: `paper`: random networks keep the paper's guidelines; `off`: any network.
        notify: Is called with a line before each step.
        progress: Is called with the steps done and all steps.

    Raises:
        ConfigError: A value is not allowed, or the folder holds another training.
        EvaluationError: The training failed.
        StoreError: A file cannot be read or written.
    """
    check_value("networks", networks, NetworksAStep)
    chosen, named = open_recipe(plan.recipe), open_space(space)
    check_trainable(chosen)
    check_supernet_recipe(chosen)
    limits = supernet_guidelines(guidelines, named)
    check_unfinished_supernet(folder)
    with making_folder(folder) as out:
        opened = _open_images(plan, chosen.resolution, notify, numbers=chosen.numbers)
        training = SupernetTraining(
            named,
            chosen,
            opened,
            limits,
            networks,
            plan.seed,
            plan.train_threads,
            progress,
            out,
            notify,
        )
        saved = save_supernet(out, training, training.train())
        training.finish()
    return saved


def training_device(asked: str | None, local_rank: int = 0) -> str:
    """The torch device of this process: `cpu`, or `cuda:` and its place among several.

    Raises:
        ConfigError: There is none of that kind.
    """
    if asked not in (None, "cpu", "cuda"):
        raise ConfigError("device", asked, "must be cpu or cuda")
    there = torch.cuda.is_available()
    if asked == "cpu" or (asked is None and not there):
        return "cpu"
    if not there or local_rank >= torch.cuda.device_count():
        allowed = f"must be cpu: there is no GPU for process {local_rank}"
        raise ConfigError("device", "cuda", allowed)
    return f"cuda:{local_rank}"


def qualify(
    request: QualifyRequest,
    *,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
    progress: Progress = ignore,
) -> Certificate:
    """Certify how well a recipe, or what stands in its place, ranks networks.

    The same call resumes a qualification that was killed.

    Args:
        request: The recipe that is certified, and its trainings.
        storage: The URL of the database that keeps the certificate, or the `db` of a study.
        notify: Is called with a line before each step.
        progress: Is called with the trainings done and all trainings.

    Raises:
        ConfigError: A value is not allowed; nothing is trained.
        EvaluationError: A training gave no accuracy.
        StoreError: The database cannot be read or written.
    """
    return certify(request, database_of(storage), notify, progress)
