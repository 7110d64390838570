"""Compares finalists of a study with the hand-designed networks of its level, on fresh figures.

All networks are measured again, in one session and in alternation. They are trained for longer,
with seeds that the search did not have. Accuracies are those of the test split, by which nothing
was chosen. Measurements and scores are kept as they come, so that a confirmation can be resumed.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from nas_sv2.database.database import Database
from nas_sv2.database.locks import FileLock, hold_now
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.determinism import core_count
from nas_sv2.evaluate.fitting.evaluation import content_of
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
from nas_sv2.search.confirm.finalists import BEST, Contestant, contestants, finalists_of
from nas_sv2.search.confirm.training import Job, Source, form_of, side_of, trained
from nas_sv2.studies.findings.attributes import IDENTITY
from nas_sv2.studies.findings.confirmation import FEWEST_SEEDS, Confirmation, Confirmed
from nas_sv2.studies.findings.confirmation_verdicts import Finalist, Paired, judge_finalists
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.confirmation_store import confirmations_of, keep
from nas_sv2.studies.storage.places import data_of, data_place
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import load_study, study_key
from nas_sv2.studies.storage.test_accuracies import HeldOutScore, HeldOutScores
from nas_sv2.studies.storage.weights_folder import WeightsFolder


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


Told = Callable[[str], None]


def confirm(
    request: ConfirmRequest, db: Database, told: Told, advanced: Callable[[int, int], None]
) -> Confirmation:
    """Measure and train all that the database lacks, and say which claims hold.

    Args:
        request: The study, and how to confirm it.
        db: The database of the study.
        told: Called with lines about the next steps.
        advanced: Called with the number of trainings done and of all trainings.

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
    identity: Mapping[str, Any] = study.user_attrs[IDENTITY]
    with ExitStack() as opened:
        records = RecordStore(db, study_key(study)).all()
        finalists = finalists_of(records, request.trials)
        field = contestants(records, finalists, identity)
        check_number(len(field))
        source = Source(
            request.data or data_place(study),
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
            told(line)
        book = TargetBook.of_study(identity)
        timed = {
            name: _timed(book, name, field, len(finalists), measurements, request.fresh, told)
            for name in identity["targets"]
        }
        scores = _scores(jobs, source, data, HeldOutScores(study), request, told, advanced)
        place = jobs[0].key(data).device
        found = _found(field, len(finalists), timed, scores, recipe, data, records, place)
        keep(study, found)
        return found


def _check_counts(request: ConfirmRequest) -> None:
    if request.seeds < FEWEST_SEEDS:
        allowed = f"must be at least {FEWEST_SEEDS}: fewer give no useful interval"
        raise ConfigError("seeds", request.seeds, allowed)
    if request.workers is not None and request.workers < 1:
        raise ConfigError("workers", request.workers, "must be at least 1")


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
    question = (jobs[0].recipe.digest, content_of(data.provenance), seeds, digests)
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
    told: Told,
) -> _Timed:
    """Measure all networks in one session; reuse that of the database if it has the same ones."""
    networks = [one.architecture for one in field]
    told(f"{name}: {len(networks)} networks head to head")
    target = book.open(name, store=store, fresh=fresh, told=told)
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
    told: Told,
    advanced: Callable[[int, int], None],
) -> Scores:
    """The score of every training by digest and seed, from the database or a new training."""
    found = {
        (job.architecture.digest, job.seed): known
        for job in jobs
        if (known := store.find(job.key(data))) is not None
    }
    missing = [job for job in jobs if (job.architecture.digest, job.seed) not in found]
    count = min(request.workers or core_count(), max(1, len(missing)))
    told(
        f"{len(jobs)} trainings by {jobs[0].recipe.name}, {len(found)} of them known; {count} at "
        "a time, on one thread each"
    )
    advanced(len(found), len(jobs))
    for job, score in trained(missing, source, count):
        store.save(job.key(data), score)
        job.finish()
        found[job.architecture.digest, job.seed] = score
        advanced(len(found), len(jobs))
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
        Confirmed(
            one.name,
            one.architecture.digest,
            one.trial,
            tuple(score.accuracy for score in of_one),
            tuple(score.loss for score in of_one),
            {name: on.latencies[place] for name, on in timed.items()},
        )
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
        together=sum(len(one.chances) for one in found),
    )


def _hold(db: Database, name: str) -> AbstractContextManager[None]:
    """Hold the right to confirm the study, so that no two processes share a checkpoint.

    Raises:
        ConfigError: If another process holds it.
    """
    return hold_now(
        FileLock.of(f"confirm {name} in {db.url}"),
        lambda holder: ConfigError(
            "study", name, f"is being confirmed by {holder}; wait for it to finish"
        ),
    )
