"""Compares finalists of a study with the hand-designed networks of its level, on fresh figures.

All networks are measured again, in one session and in alternation. They are trained for longer,
with seeds that the search did not have. Accuracies are those of the test split, by which nothing
was chosen. Measurements and scores are kept as they come, so that a confirmation can be resumed.

A training is a full one (`evaluate/full`) of the form that the search trained. A recipe for full
training trains the network itself. Each training has a folder with its checkpoint.
"""

import dataclasses
import datetime
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from nas_sv2.database.database import Database
from nas_sv2.database.locks import hold_now
from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.determinism import check_workers, useful_workers
from nas_sv2.evaluate.fitting.evaluation import average, data_key
from nas_sv2.evaluate.full.training import FullRun, find_data_side
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_from_document
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.latency.measurements.head_to_head import (
    ComparedPair,
    PricedPair,
    TimedPair,
    check_number,
)
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.space.choices.levels import LEVELS, nearest_level
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.attributes import IDENTITY, TRAINED, whole_identity
from nas_sv2.studies.findings.confirmation import (
    FEWEST_SEEDS,
    Confirmation,
    Confirmed,
    Finalist,
    Paired,
    judge_finalists,
)
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.confirmation_store import (
    HeldOutScore,
    HeldOutScores,
    Training,
    confirmations_of,
    keep,
)
from nas_sv2.studies.storage.places import data_of, data_place
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import load_study, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

BEST = "best"


@dataclass(frozen=True)
class Contestant:
    """A network of a confirmation.

    Attributes:
        name: Name of a hand-designed network, otherwise the beginning of the digest.
        architecture: The network.
        trial: Its trial in the study; None for a baseline that the study does not have.
    """

    name: str
    architecture: Architecture
    trial: int | None


def finalists_of(records: Mapping[int, Record], trials: Sequence[str]) -> list[int]:
    """The numbers of the finalists' trials.

    Args:
        records: Records of the study, by trial.
        trials: Numbers, or `best` alone: the highest score of the front without baselines.

    Raises:
        ConfigError: If a trial is not a candidate of the study.
    """
    candidates = [number for number, record in records.items() if record.baseline is None]
    if not candidates:
        raise ConfigError("trials", list(trials), "must wait: the study has no candidate yet")
    known = ", ".join(map(str, candidates))
    if list(trials) == [BEST]:
        found = [each for each in Front(records).members if each.record.baseline is None]
        if not found:
            allowed = (
                f"must be numbers, because no candidate is on the front; candidates are {known}"
            )
            raise ConfigError("trials", list(trials), allowed)
        return [max(found, key=lambda entry: entry.record.evaluation.score).number]
    numbers = [int(word) if word.isdecimal() and word.isascii() else -1 for word in trials]
    if not set(numbers) <= set(candidates) or len(set(numbers)) < len(numbers):
        allowed = (
            f"must be best, or numbers of candidates ({known}), each once; "
            "baselines take part anyway"
        )
        raise ConfigError("trials", list(trials), allowed)
    return numbers


def contestants(
    records: Mapping[int, Record], finalists: Sequence[int], identity: Mapping[str, Any]
) -> list[Contestant]:
    """The finalists, then the baselines; claims are about the first baseline."""
    first = records[finalists[0]]
    of_trial = {record.baseline: n for n, record in records.items() if record.baseline}
    names = dict.fromkeys([_against(first, identity), *of_trial])
    like = first.architecture
    baselines = [
        Contestant(
            name,
            dataclasses.replace(
                reference(name),
                resolution=like.resolution,
                channels=like.channels,
                classes=like.classes,
            ),
            of_trial.get(name),
        )
        for name in names
    ]
    return [
        *(
            Contestant(records[n].architecture.digest[:8], records[n].architecture, n)
            for n in finalists
        ),
        *baselines,
    ]


def _against(record: Record, identity: Mapping[str, Any]) -> str:
    """The network of the study's level in its plain form: V2 1× at 140 MFLOPs."""
    level = LEVELS.get(identity["space"])
    if level is None or level.digest != identity["space_digest"]:
        level = nearest_level(identity["budget"]["flops"] or record.cost.flops)
    return level.baselines[0]


THREADS = 1
"""CPU threads of each training; several run at a time."""


@dataclass(frozen=True, slots=True)
class Source:
    """The images of the trainings, as a worker opens them.

    Attributes:
        spec: The data's spec in the study.
        side: Side at which they are opened, pixels; None for the data's own.
        skip_unreadable: Whether images that cannot be read are left out.
    """

    spec: str
    side: int | None
    skip_unreadable: bool

    def open(self) -> ImageData:
        """Open the data; see `open_data` for the errors."""
        return open_data(self.spec, resolution=self.side, skip_unreadable=self.skip_unreadable)


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
        return HeldOutScore(
            accuracy=trained.test.accuracy,
            loss=trained.test.loss,
            images=trained.test.images,
            val_accuracy=trained.validation.accuracy,
            train_images=sum(each.trained.images for each in trained.passes),
            seconds=trained.seconds,
            balanced_accuracy=trained.test.balanced_accuracy,
            majority=trained.test.majority,
            classes=trained.test.classes,
        )

    def finish(self) -> None:
        """Delete the folder: the score is kept elsewhere."""
        shutil.rmtree(self.out, ignore_errors=True)


def side_of(recipe: Recipe, architecture: Architecture) -> int | None:
    """The side at which the data are opened, pixels; None for their own.

    Raises:
        ConfigError: If a recipe for full training cannot be followed with this network.
    """
    return (
        recipe.resolution if recipe.full_training is None else find_data_side(recipe, architecture)
    )


def form_of(recipe: Recipe, architecture: Architecture, data: ImageData) -> Architecture:
    """The network that is trained: the form of a search, or the network itself if in full.

    Raises:
        ConfigError: If the recipe cannot be followed; names the field.
    """
    if recipe.full_training is not None:
        return architecture
    form = ProxyTraining(recipe, data, threads=THREADS).adapt(architecture)
    find_data_side(recipe, form)  # refuses a recipe that only a search can follow
    return form


def trained(jobs: Sequence[Job], source: Source, count: int) -> Iterator[tuple[Job, HeldOutScore]]:
    """Train all, `count` at a time, and yield each score as it comes.

    Raises:
        EvaluationError: If a training gives no accuracy, or its process is killed.
        StoreError: If a checkpoint cannot be read or written.
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
                "a training process was killed; run it again to continue"
            ) from error
        except BaseException:  # interrupts too: end the trainings at once
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_opened: list[ImageData] = []
"""The data of a worker process."""


def _begin(source: Source) -> None:
    """Open the data, and end this process when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
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


@dataclass(frozen=True, slots=True)
class ConfirmRequest:
    """A confirmation in the user's words; the options of `nas-sv2 study confirm`."""

    study: str
    recipe: str
    trials: Sequence[str] = (BEST,)
    seeds: int = FEWEST_SEEDS
    workers: int | None = None
    fresh: bool = False
    data: str | None = None


Notify = Callable[[str], None]


def confirm(
    request: ConfirmRequest, db: Database, notify: Notify, progress: Callable[[int, int], None]
) -> Confirmation:
    """Measure and train all that the database lacks, and say which claims hold.

    Args:
        request: The study, and how to confirm it.
        db: The database of the study.
        notify: Called with lines about the next steps.
        progress: Called with the number of trainings done and of all trainings.

    Raises:
        ConfigError: If the request is not valid; nothing is measured or trained.
        DeviceError: If a target cannot be used; the same request resumes the confirmation.
        MeasurementError: If a target gives no latency.
        EvaluationError: If a training gives no accuracy.
        StoreError: If the database cannot be read or written.
    """
    _check_counts(request)
    recipe = open_recipe(request.recipe)
    study = load_study(db, request.study)
    needed = ("budget", "space_digest", *TRAINED)
    identity = whole_identity(study.user_attrs, f"study {request.study}", needed)
    with ExitStack() as opened:
        records = RecordStore(db, study_key(study)).all()
        finalists = finalists_of(records, request.trials)
        field = contestants(records, finalists, identity)
        check_number(len(field))
        source = Source(
            data_place(study) if request.data is None else request.data,
            side_of(recipe, field[0].architecture),
            identity["skip_unreadable"],
        )
        data = _data(source, study, request.data)
        for one in field:
            form_of(recipe, one.architecture, data)  # raises before anything is run
        opened.enter_context(_hold(db, request.study))
        measurements = MeasurementStore(db)
        folder = WeightsFolder.of_study(db, study_key(study)).path / "confirm"
        jobs = _jobs(field, recipe, _seeds(identity, request.seeds), folder)
        for line in _looked_at(confirmations_of(study), jobs, data):
            notify(line)
        book = TargetBook.of_study(identity)
        timed = {
            name: _timed(book, name, field, len(finalists), measurements, request.fresh, notify)
            for name in identity["targets"]
        }
        scores = _scores(jobs, source, data, HeldOutScores(study), request, notify, progress)
        place = jobs[0].key(data).device
        found = _found(field, len(finalists), timed, scores, recipe, data, records, place)
        keep(study, found)
        return found


def _check_counts(request: ConfirmRequest) -> None:
    if request.seeds < FEWEST_SEEDS:
        allowed = f"must be at least {FEWEST_SEEDS}: fewer give no useful interval"
        raise ConfigError("seeds", request.seeds, allowed)
    check_workers(request.workers)


def _jobs(
    field: Sequence[Contestant], recipe: Recipe, seeds: Sequence[int], folder: Path
) -> list[Job]:
    """Return a training of each network by each seed, with its folder of checkpoints."""
    return [
        Job(
            one.architecture,
            recipe,
            seed,
            folder / f"{one.architecture.digest}-{recipe.digest}-{seed}",
        )
        for seed in seeds
        for one in field
    ]


@dataclass(frozen=True)
class _Timed:
    """Measurements of all networks on one target, and their comparison with the baseline."""

    latencies: Sequence[Latency]
    finalists: Sequence[ComparedPair]


def _data(source: Source, study: optuna.Study, moved: str | None) -> ImageData:
    """The images of the study, with a test split.

    Raises:
        ConfigError: If there is no test split, or the images are not those of the study.
    """
    same = data_of(study, moved)
    side = recipe_from_document(study.user_attrs[IDENTITY]["recipe_document"]).resolution
    data = same if side == source.side else source.open()
    if data.test is None:
        allowed = (
            "must be a study whose data have a test split: these have none, and "
            "images that the search "
            "chose by confirm nothing"
        )
        raise ConfigError("study", data.name, allowed)
    return data


def _seeds(identity: Mapping[str, Any], count: int) -> range:
    """Seeds that the search did not use: it may have chosen a network for a lucky seed."""
    per_training = identity["recipe_document"].get("seeds", 1)
    first = (identity["seed"] + 1) * per_training
    return range(first, first + count)


def _looked_at(earlier: Sequence[Confirmation], jobs: Sequence[Job], data: ImageData) -> list[str]:
    """Describe earlier uses of the test images."""
    digests = tuple(sorted({job.architecture.digest for job in jobs}))
    seeds = tuple(sorted({job.seed for job in jobs}))
    question = (jobs[0].recipe.digest, data_key(data.provenance), seeds, digests)
    asked = sum(each.question != question for each in earlier)
    if not asked:
        return []
    return [
        f"this study has asked the test images {asked} time{'s' * (asked > 1)} before: what is "
        "chosen by several confirmations is chosen by them"
    ]


def _timed(
    book: TargetBook,
    name: str,
    field: Sequence[Contestant],
    finalists: int,
    store: MeasurementStore,
    fresh: bool,
    notify: Notify,
) -> _Timed:
    """Measure all networks in one session; reuse that of the database if it has the same ones."""
    networks = [one.architecture for one in field]
    notify(f"{name}: {len(networks)} networks head to head")
    target = book.open(name, store=store, fresh=fresh, notify=notify)
    try:
        if target.device is None:
            latencies = [target.estimate(network) for network in networks]
            priced = [PricedPair.of(one, latencies[finalists]) for one in latencies[:finalists]]
            return _Timed(latencies, priced)
        session = target.device.session(networks)
        restless = any(one.contended for one in session)
        pairs = [TimedPair.of(one, session[finalists], restless) for one in session[:finalists]]
        return _Timed([one.latency(name) for one in session], pairs)
    finally:
        target.close()


Scores = Mapping[tuple[str, int], HeldOutScore]


def _scores(
    jobs: Sequence[Job],
    source: Source,
    data: ImageData,
    store: HeldOutScores,
    request: ConfirmRequest,
    notify: Notify,
    progress: Callable[[int, int], None],
) -> Scores:
    """The score of every training by digest and seed, from the database or a new training."""
    found = {
        (job.architecture.digest, job.seed): known
        for job in jobs
        if (known := store.find(job.key(data))) is not None
    }
    missing = [job for job in jobs if (job.architecture.digest, job.seed) not in found]
    count = useful_workers(request.workers, len(missing))
    notify(
        f"{len(jobs)} trainings by {jobs[0].recipe.name}, {len(found)} of them known; {count} at "
        "a time, on one thread each"
    )
    progress(len(found), len(jobs))
    for job, score in trained(missing, source, count):
        store.save(job.key(data), score)
        job.finish()
        found[job.architecture.digest, job.seed] = score
        progress(len(found), len(jobs))
    return found


def _found(
    field: Sequence[Contestant],
    finalists: int,
    timed: Mapping[str, _Timed],
    scores: Scores,
    recipe: Recipe,
    data: ImageData,
    records: Mapping[int, Record],
    trained_on: str,
) -> Confirmation:
    seeds = sorted({seed for _, seed in scores})
    by_network = [[scores[one.architecture.digest, seed] for seed in seeds] for one in field]
    networks = tuple(
        _confirmed(one, of_one, {name: on.latencies[place] for name, on in timed.items()})
        for place, (one, of_one) in enumerate(zip(field, by_network, strict=True))
    )
    images = by_network[0][0].images
    found = []
    for place, (one, network) in enumerate(zip(field[:finalists], networks, strict=False)):
        assert one.trial is not None, "finalists are trials"
        accuracy = Paired.of(network.accuracies, networks[finalists].accuracies, images)
        times = {name: on.finalists[place] for name, on in timed.items()}
        found.append(Finalist(one.trial, network.digest, accuracy, times))
    longer = [
        of_one[0].train_images / records[one.trial].evaluation.train_images
        for one, of_one in zip(found, by_network, strict=False)
    ]
    return Confirmation(
        against=field[finalists].name,
        recipe=recipe.name,
        recipe_digest=recipe.digest,
        data=data.provenance,
        test_images=images,
        seeds=tuple(seeds),
        longer=min(longer),
        networks=networks,
        findings=judge_finalists(found),
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        place=trained_on,
        longest=max(longer) if max(longer) > min(longer) else None,
        majority=by_network[0][0].majority,
        classes=by_network[0][0].classes,
        together=sum(len(one.chances) for one in found),
    )


def _confirmed(
    one: Contestant, scores: Sequence[HeldOutScore], latencies: Mapping[str, Latency]
) -> Confirmed:
    return Confirmed(
        one.name,
        one.architecture.digest,
        one.trial,
        tuple(score.accuracy for score in scores),
        tuple(score.loss for score in scores),
        latencies,
        average(score.balanced_accuracy for score in scores),
    )


def _hold(db: Database, name: str) -> AbstractContextManager[None]:
    """Hold the right to confirm the study, so that no two processes share a checkpoint.

    Raises:
        ConfigError: If another process holds it.
    """
    return hold_now(
        db.lock(f"confirm {name}"),
        lambda holder: ConfigError(
            "study", name, f"is being confirmed by {holder}; wait for it to finish"
        ),
    )
