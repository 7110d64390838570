"""Compares finalists of a study with the hand-designed networks of its level, on fresh figures.

All networks are measured again, in one session and in alternation. They are trained for longer,
with seeds that the search did not have. They are compared by the score of the study, on the test
split, by which nothing was chosen. Measurements and scores are kept as they come, so that a
confirmation can be resumed.
"""

import dataclasses
import datetime
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from nas_sv2.counts import counted
from nas_sv2.database.database import Database
from nas_sv2.database.locks import hold_now
from nas_sv2.documents import MOST_TRAININGS
from nas_sv2.errors import ConfigError, naming_network
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.determinism import check_workers, useful_workers
from nas_sv2.evaluate.fitting.evaluation import average, confirmed_by, data_key
from nas_sv2.evaluate.fitting.own_metric import try_score
from nas_sv2.evaluate.fitting.subset import choose_subset
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_from_document
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.latency.measurements.head_to_head import (
    EMULATED_TIE,
    LEAST,
    LEAST_CONTENDED,
    MOST_NETWORKS,
    ComparedPair,
    PricedPair,
    TimedPair,
    check_number,
)
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search.confirm.contestants import (
    BEST,
    Contestant,
    Field,
    contestants,
    finalists_of,
    rival_named,
    study_of,
)
from nas_sv2.search.confirm.trainings import Job, Source, data_resolution_of, form_of, trained
from nas_sv2.space.choices.scaled_family import FEWEST
from nas_sv2.studies.findings.attributes import (
    IDENTITY,
    TRAINED,
    classifiers_identity,
    whole_identity,
)
from nas_sv2.studies.findings.confirmation import (
    FEWEST_SEEDS,
    Confirmation,
    Confirmed,
    Finalist,
    judge_finalists,
)
from nas_sv2.studies.findings.paired import Paired, step_of
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.scaled_family import FamilyCurve
from nas_sv2.studies.storage.confirmation_store import (
    HeldOutScore,
    HeldOutScores,
    confirmations_of,
    keep,
)
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.places import data_of, data_place
from nas_sv2.studies.storage.study import load_study, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

MOST_MARGIN = 10.0
"""Points of a share, such as accuracy; a larger loss is none that anybody calls equal."""


@dataclass(frozen=True, slots=True)
class ConfirmRequest:
    """A confirmation in the user's words; the options of `nas-sv2 study confirm`.

    Attributes:
        study: The study.
        recipe: How to train.
        trials: Numbers of the finalists' trials, or `best` alone.
        seeds: Trainings of each network, from 3 to 10,000.
        workers: Trainings at the same time; None for one for each core.
        fresh: Whether to measure again although a session is stored.
        data: The place of the study's data, if they were moved.
        margin: Loss of score that counts as none, in points of a share such as accuracy, otherwise
            in the unit of the score; None to leave that open.
        family: Widths of the scaled family; 0 for none.
        vs_study: Another study, whose best network is compared with too, or `STUDY:NUMBER`.
    """

    study: str
    recipe: str
    trials: Sequence[str] = (BEST,)
    seeds: int = FEWEST_SEEDS
    workers: int | None = None
    fresh: bool = False
    data: str | None = None
    margin: float | None = None
    family: int = FEWEST
    vs_study: str | None = None


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
    identity = classifiers_identity(study.user_attrs, request.study, needed)
    searched = recipe_from_document(identity["recipe_document"])
    _check_numbers(recipe, searched)
    margin = _margin(request.margin, searched.score)
    with ExitStack() as opened:
        front = read_study(db, request.study).front
        records, finalists = front.records, finalists_of(front, request.trials)
        rival = None if request.vs_study is None else rival_named(request.vs_study, db)
        field = contestants(records, finalists, identity, request.family, rival)
        check_number(len(field.all))
        source = _source(study, request.data, recipe, field)
        data = _data(source, study, request.data, notify)
        by = confirmed_by(searched.score, data.kind)
        recipe = _as_searched(recipe, searched, by, data)
        for one in field.all:
            form_of(recipe, one.architecture, data)  # raises before anything is run
        opened.enter_context(_hold(db, request.study))
        measurements = MeasurementStore(db)
        folder = WeightsFolder.of_study(db, study_key(study)).path / "confirm"
        searches = [identity, *_rivals(request.vs_study, db)]
        jobs = _jobs(field.all, recipe, _seeds(searches, request.seeds), folder)
        for line in _looked_at(confirmations_of(study), jobs, data, margin, by):
            notify(line)
        book = TargetBook.of_study(identity)
        timed = {
            name: _timed(book, name, field, measurements, request.fresh, notify)
            for name in identity["targets"]
        }
        store = HeldOutScores(study)
        scores = _scores(jobs, by, source, data, store, request, notify, progress)
        figures = _Figures(field, timed, scores, by, jobs[0].count_tested(data))
        found = _found(figures, margin, jobs[0], data, records)
        keep(study, found)
        return found


def _check_numbers(recipe: Recipe, searched: Recipe) -> None:
    """Refuse a recipe that reads labels otherwise than the study.

    Raises:
        ConfigError: One reads them as numbers, and the other does not.
    """
    if recipe.numbers == searched.numbers:
        return
    needed = f"must be {searched.score}" if searched.numbers else "must be of classes or labels"
    allowed = f"{needed}, because the study compares by {facts_of(searched.score).name}"
    raise ConfigError("recipe.score", recipe.score, allowed)


def _as_searched(recipe: Recipe, searched: Recipe, by: str, data: ImageData) -> Recipe:
    """Return the recipe with the form and the score that the study compares.

    Every test on classes gives top-1, balanced accuracy and macro F1. For these the score of the
    recipe stays, and with it the digest by which scores are known.

    Raises:
        ConfigError: The data have no such score, or the user's own metric fails.
    """
    score = recipe.score if facts_of(by).of == ("classes",) else by
    found = dataclasses.replace(recipe, score_form=searched.score_form, score=score)
    part = choose_subset(data, found)
    try_score(score, part.val.labels, part.classes)
    return found


def _margin(margin: float | None, searched: str) -> float | None:
    """Return the margin in the unit of the score, 0 to 1 of a share.

    It needs no data: a study by a loss is confirmed by a share, whatever the labels are.

    Args:
        margin: The margin as asked for.
        searched: The score of the study.

    Raises:
        ConfigError: It is not above 0, or too large.
    """
    facts = facts_of(searched)
    if margin is None:
        return None
    share = facts.unit in ("share", "nats")
    if not 0 < margin <= (MOST_MARGIN if share else sys.float_info.max):
        noun = "accuracy or mean AP" if facts.unit == "nats" else facts.noun
        points = f"points of {noun} above 0, at most {MOST_MARGIN:g}"
        allowed = points if share else f"above 0, in the unit of {noun}"
        raise ConfigError("margin", margin, f"must be {allowed}")
    return margin / 100 if share else margin


def _check_counts(request: ConfirmRequest) -> None:
    if not FEWEST_SEEDS <= request.seeds <= MOST_TRAININGS:
        allowed = f"must be from {FEWEST_SEEDS} to {MOST_TRAININGS}: fewer give no useful interval"
        raise ConfigError("seeds", request.seeds, allowed)
    check_workers(request.workers)
    if request.family and not FEWEST <= request.family <= MOST_NETWORKS:
        allowed = f"must be {FEWEST} to {MOST_NETWORKS} widths, or 0 for no scaled family"
        raise ConfigError("family", request.family, allowed)


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
    """Measurements on one target.

    Attributes:
        latencies: The latencies of all networks.
        pairs: Every finalist beside every rival, by their places among all.
        least: The share by which latencies may differ without a cause.
    """

    latencies: Sequence[Latency]
    pairs: Mapping[tuple[int, int], ComparedPair]
    least: float


def _source(study: optuna.Study, moved: str | None, recipe: Recipe, field: Field) -> Source:
    """Return the images of the study as the trainings by `recipe` open them."""
    return Source(
        data_place(study) if moved is None else moved,
        data_resolution_of(recipe, field.finalists[0].architecture),
        study.user_attrs[IDENTITY]["skip_unreadable"],
        recipe.numbers,
    )


def _data(source: Source, study: optuna.Study, moved: str | None, notify: Notify) -> ImageData:
    """The images of the study, with a test split.

    Raises:
        ConfigError: If there is no test split, or the images are not those of the study.
    """
    same = data_of(study, moved, notify)
    own = recipe_from_document(study.user_attrs[IDENTITY]["recipe_document"]).resolution
    data = same if own == source.resolution else source.open(notify)
    if data.test is None:
        allowed = (
            "must be a study whose data have a test split: these have none, and "
            "images that the search "
            "chose by confirm nothing"
        )
        raise ConfigError("study", data.name, allowed)
    return data


def _rivals(text: str | None, db: Database) -> Iterator[Mapping[str, Any]]:
    """Give the identity of the study of the rival, if there is one."""
    if text is not None:
        study = study_of(text)
        yield whole_identity(load_study(db, study).user_attrs, f"study {study}", ("seed",))


def _seeds(searches: Sequence[Mapping[str, Any]], count: int) -> range:
    """Seeds that no search used: one may have chosen a network for a lucky seed.

    Args:
        searches: The identities of the studies whose networks are trained.
        count: How many seeds.
    """
    first = 0
    for identity in searches:
        recipe = identity.get("recipe_document") or {}  # a supernet has none
        first = max(first, (identity["seed"] + 1) * recipe.get("seeds", 1))
    return range(first, first + count)


def _looked_at(
    earlier: Sequence[Confirmation],
    jobs: Sequence[Job],
    data: ImageData,
    margin: float | None,
    by: str,
) -> list[str]:
    """Describe earlier uses of the test images."""
    digests = tuple(sorted({job.architecture.digest for job in jobs}))
    seeds = tuple(sorted({job.seed for job in jobs}))
    question = (jobs[0].recipe.digest, data_key(data.provenance), seeds, digests, margin, by)
    asked = sum(each.question != question for each in earlier)
    if not asked:
        return []
    return [
        f"this study has asked the test images {counted(asked, 'time')} before: what is "
        "chosen by several confirmations is chosen by them"
    ]


def _timed(
    book: TargetBook,
    name: str,
    field: Field,
    store: MeasurementStore,
    fresh: bool,
    notify: Notify,
) -> _Timed:
    """Measure all networks in one session; reuse that of the database if it has the same ones."""
    networks = [one.architecture for one in field.all]
    first = len(field.finalists)
    places = [(n, first + k) for n in range(first) for k in range(len(field.rivals))]
    notify(f"{name}: {len(networks)} networks head to head")
    target = book.open(name, store=store, fresh=fresh, notify=notify)
    try:
        if target.device is None:
            prices = []
            for one in field.all:
                with naming_network(one.name):
                    prices.append(target.estimate(one.architecture))
            priced = {(n, k): PricedPair.of(prices[n], prices[k]) for n, k in places}
            return _Timed(prices, priced, EMULATED_TIE)
        session = target.device.session(networks)
        restless = any(one.contended for one in session)
        pairs = {(n, k): TimedPair.of(session[n], session[k], restless) for n, k in places}
        least = LEAST_CONTENDED if restless else LEAST
        return _Timed([one.latency(name) for one in session], pairs, least)
    finally:
        target.close()


Scores = Mapping[tuple[str, int], HeldOutScore]


def _scores(
    jobs: Sequence[Job],
    by: str,
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
        if (known := store.find(job.key(data))) is not None and by in known.figures
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


@dataclass(frozen=True)
class _Figures:
    """All that was measured and trained, by the places of the networks.

    Attributes:
        field: The networks.
        timed: Measurements by target.
        scores: The scores of the trainings.
        scored_by: The score that is compared by.
        counts: Test images by class or label; none for numbers.
    """

    field: Field
    timed: Mapping[str, _Timed]
    scores: Scores
    scored_by: str
    counts: Sequence[int]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for _, seed in self.scores})

    def of(self, place: int) -> list[HeldOutScore]:
        """The scores of a network, by seed."""
        digest = self.field.all[place].architecture.digest
        return [self.scores[digest, seed] for seed in self.seeds]

    def compared(self, place: int) -> list[float]:
        """The scores that a network is compared by, by seed; higher is better."""
        return [score.score(self.scored_by) for score in self.of(place)]

    @property
    def step(self) -> float:
        """How much one test image counts."""
        every = [score.score(self.scored_by) for score in self.scores.values()]
        return step_of(self.scored_by, self.images, self.counts, every)

    @property
    def images(self) -> int:
        return self.of(0)[0].images

    def finalists(self) -> list[Finalist]:
        """Every finalist beside every rival, the scaled family with the first."""
        first = len(self.field.finalists)
        return [
            self._finalist(place, first + k)
            for place in range(first)
            for k in range(len(self.field.rivals))
        ]

    def _finalist(self, place: int, rival: int) -> Finalist:
        one, other = self.field.all[place], self.field.all[rival]
        assert one.trial is not None, "finalists are trials"
        is_first = rival == len(self.field.finalists)
        paired = Paired.of(self.compared(place), self.compared(rival), self.step)
        return Finalist(
            one.trial,
            one.architecture.digest,
            paired,
            {name: on.pairs[place, rival] for name, on in self.timed.items()},
            None if is_first else other.name,
            self._curves(place) if is_first else {},
        )

    def _curves(self, place: int) -> dict[str, FamilyCurve]:
        """The scaled family by target, where it covers the finalist's latency."""
        family = self.field.family
        curves = {
            name: FamilyCurve(
                [on.latencies[n].ms for n in family],
                [self.compared(n) for n in family],
                on.latencies[place].ms,
                self.compared(place),
                self.step,
                on.least,
            )
            for name, on in (self.timed.items() if family else ())
        }
        return {name: curve for name, curve in curves.items() if curve.covers}


def _found(
    figures: _Figures,
    margin: float | None,
    job: Job,
    data: ImageData,
    records: Mapping[int, Record],
) -> Confirmation:
    field, finalists, recipe = figures.field, figures.finalists(), job.recipe
    networks = tuple(_confirmed(one, figures, place) for place, one in enumerate(field.all))
    longer = [
        figures.of(place)[0].train_images / records[one.trial].evaluation.train_images
        for place, one in enumerate(field.finalists)
        if one.trial is not None
    ]
    score = figures.of(0)[0]
    return Confirmation(
        against=field.rivals[0].name,
        recipe=recipe.name,
        recipe_digest=recipe.digest,
        data=data.provenance,
        test_images=figures.images,
        seeds=tuple(figures.seeds),
        longer=min(longer),
        networks=networks,
        findings=judge_finalists(finalists, margin),
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        place=job.key(data).device,
        longest=max(longer) if max(longer) > min(longer) else None,
        majority=score.majority,
        classes=score.classes,
        together=sum(len(one.chances) for one in finalists),
        margin=margin,
        family=tuple(field.all[n].name for n in field.family),
        scored_by=figures.scored_by,
    )


def _confirmed(one: Contestant, figures: _Figures, place: int) -> Confirmed:
    scores = figures.of(place)
    losses = tuple(score.loss for score in scores if score.loss is not None)
    top_1 = tuple(score.figures["accuracy"] for score in scores if "accuracy" in score.figures)
    return Confirmed(
        one.name,
        one.architecture.digest,
        one.trial,
        tuple(figures.compared(place)),
        losses or None,
        {name: on.latencies[place] for name, on in figures.timed.items()},
        top_1 or None,
        average(score.figures.get("balanced_accuracy") for score in scores),
        average(score.float_score(figures.scored_by) for score in scores),
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
