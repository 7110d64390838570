"""A search from its plan to its front; all is checked before anything is written."""

import dataclasses
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import optuna
from optuna.samplers import RandomSampler

from nas_sv2.counts import counted
from nas_sv2.database.database import Database
from nas_sv2.database.locks import TrainingPause
from nas_sv2.database.processes import is_alive
from nas_sv2.errors import (
    ConfigError,
    DatabaseGone,
    InfeasibleError,
    NasError,
    was_interrupted,
)
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.evaluators import find_evaluator
from nas_sv2.evaluate.fitting.determinism import former_threads, useful_workers
from nas_sv2.evaluate.fitting.evaluator import DataSet, Setting, Trainer
from nas_sv2.evaluate.fitting.int8_images import calibration_images
from nas_sv2.evaluate.recipes.files import recipe_from_document
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.asking.first_timings import timed_first
from nas_sv2.search.asking.sampler import SamplerSetting
from nas_sv2.search.events.events import (
    Event,
    OnEvent,
    SearchDescribed,
    advance,
    enter,
    ignore,
    notify,
)
from nas_sv2.search.events.interrupts import sigterm_interrupts
from nas_sv2.search.events.time_left import TimeLeft
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.loop.outages import DATABASE, Outages
from nas_sv2.search.scale.cluster import (
    Cluster,
    ClusterDevice,
    ClusterTraining,
    TrainingOrder,
    connected,
    run_threads,
    versions,
)
from nas_sv2.search.scale.processes import run_workers
from nas_sv2.search.session.detection import counting_detectors, timed_whole
from nas_sv2.search.session.guidelines import Chosen, choose
from nas_sv2.search.session.plan import SearchPlan, describe_search
from nas_sv2.search.session.warm_start import WarmStart, begun_from
from nas_sv2.search.walk.audit import RelaxedLimits
from nas_sv2.search.walk.drift_correction import correct_drift
from nas_sv2.search.walk.early_stop import EarlyStop
from nas_sv2.search.walk.feasibility import check_feasible
from nas_sv2.search.walk.predict_first import check_predictable, measure_front, screened
from nas_sv2.search.walk.stored_evaluator import StoredEvaluator
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.guidelines import GuidelineLimits, Guidelines
from nas_sv2.studies.findings.attributes import THREADS
from nas_sv2.studies.findings.certificate import UNCERTIFIED
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.ownership import StudyGone, check_records
from nas_sv2.studies.storage.places import absolute_data, keep_sample, note_data, note_evaluator
from nas_sv2.studies.storage.recipe_evidence import CertificateStore
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import note_run
from nas_sv2.studies.storage.study import (
    began_with,
    claim,
    create_or_resume,
    discarding_unclaimed,
    optuna_storage,
    store_errors,
    study_key,
)
from nas_sv2.studies.storage.trial_lease import TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

T = TypeVar("T")
SEEDS = 2**32  # of samplers; the numbers beyond begin again at 0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search.

    Attributes:
        study: The name of its study.
        records: Every record by its trial.
        ended_by: The error, or the user's KeyboardInterrupt, that ended it before its time.
    """

    study: str
    records: Mapping[int, Record]
    ended_by: NasError | KeyboardInterrupt | None = None


def search(plan: SearchPlan, db: Database, on_event: OnEvent = ignore) -> SearchResult:
    """Search as planned; the same plan resumes a search that was ended.

    While another process is at the study, this one joins it.

    Args:
        plan: The plan. Its workers open the database at its `storage`.
        db: The same database.
        on_event: Is called with every event.

    Raises:
        ConfigError: The plan does not fit the data or the study; nothing is written.
        InfeasibleError: No sampled network keeps the budget.
        NasError: A target or the database cannot be opened.
    """
    db.wait_again()
    db.require_writable()
    cluster = nullcontext(None) if plan.ray is None else connected(plan.ray)
    with cluster as at, sigterm_interrupts(), store_errors(), db.discarding_new():
        plan = _with_workers(plan, at)
        data = plan.open_data(notify(on_event))  # may be refused, before a database is made
        plan = _at_timed_input(_with_recipe_of_study(plan, db), data, db)
        with _opening(plan, db, data, on_event, at) as loop:
            ended_by = _end_of(lambda: _run(plan, db, data, loop, at))
            if isinstance(ended_by, KeyboardInterrupt):
                db.hurry()
            try:
                return _found(loop, ended_by, plan.trials)
            except DATABASE as failed:
                if not isinstance(ended_by, KeyboardInterrupt):
                    raise
                notify(on_event)(f"{failed}; the front is not read")
                raise ended_by from failed


def _found(loop: Loop, ended_by: NasError | KeyboardInterrupt | None, trials: int) -> SearchResult:
    """Read what was found, after measuring its front if the search came to its end."""
    with store_errors():
        loop.follow()
        if ended_by is None and loop.store.known >= trials and (left := loop.waiting_starts):
            notify(loop.on_event)(
                f"{counted(left, 'network')} to start with not asked, as the study has its "
                f"trials; --trials {loop.store.known + left} goes on"
            )
        if ended_by is None or isinstance(ended_by, InfeasibleError):
            ended_by = _end_of(lambda: _measure_front(loop)) or ended_by
        return SearchResult(loop.study_name, loop.store.all(), ended_by)


def _with_workers(plan: SearchPlan, cluster: Cluster | None) -> SearchPlan:
    """Choose the number of workers if the plan leaves it out.

    A training has a core, or a GPU of a cluster. Candidates that are not trained, or that share
    the GPU of this machine, come one at a time.
    """
    if plan.workers is not None:
        return plan
    count = 1
    if cluster is not None:
        count = cluster.total("CPU" if plan.train_on == "cpu" else "GPU")
    elif plan.evaluator.trains and plan.train_on == "cpu":
        count = useful_workers(None, plan.trials)
    return dataclasses.replace(plan, workers=max(1, min(count, plan.trials)))


def _measure_front(loop: Loop) -> None:
    measure_front(loop.walk, loop.store, lambda: read_study(loop.store.db, loop.study_name).front)


def _at_timed_input(plan: SearchPlan, data: DataSet, db: Database) -> SearchPlan:
    """Bring a level to the input that is timed.

    A study that was begun at the level's own input, as before the size of images counted, stays
    there unless another is asked for.
    """
    if plan.timed_input is None:
        return plan
    began = began_with(db, plan.study).get("space_digest")
    if plan.timed_input.asked is None and began == plan.space.digest:
        return dataclasses.replace(plan, timed_input=None)
    return plan.at_timed_input(data)


def _with_recipe_of_study(plan: SearchPlan, db: Database) -> SearchPlan:
    """Take the study's own recipe if that of the plan only has another name.

    The digest of a recipe has its name, and trainings are found by the digest.
    """
    began, recipe = began_with(db, plan.study), plan.recipe
    if not plan.evaluator.trains or "recipe_document" not in began:
        return plan
    if began["recipe"] == recipe.name:
        return plan
    stored = recipe_from_document(began["recipe_document"])
    if dataclasses.replace(stored, name=recipe.name) != recipe:
        return plan
    same = find_evaluator(stored, plan.evaluator.identity, plan.evaluator.place)
    return dataclasses.replace(plan, evaluator=same)


def _run(
    plan: SearchPlan, db: Database, data: DataSet, loop: Loop, cluster: Cluster | None
) -> None:
    """Search in this process, or in as many as planned; in threads if a cluster works."""
    left, asked = max(1, plan.trials - loop.store.known), plan.workers or 1
    threads: int = loop.study.user_attrs[THREADS]
    workers = min(asked, left) if cluster else useful_workers(asked, left, threads)
    if workers < asked and loop.store.known < plan.trials:
        there_are = f"{left} {'trial' if left == 1 else 'trials'} to do"
        if workers < min(asked, left):
            there_are = f"the cores and the memory; a training has {threads} CPU threads"
        notify(loop.on_event)(f"workers: {workers}, not {asked}, for {there_are}")
    recipe = plan.recipe
    passes = recipe.epochs * recipe.seeds if plan.stop_rule else None
    loop.on_event = TimeLeft(loop.on_event, workers, plan.timeout_s, passes)
    if workers == 1:
        loop.run(plan.trials, plan.timeout_s)
        return
    if cluster is None:
        errors = run_workers(partial(_work, plan), workers, loop.on_event)
    else:
        work = partial(_walk, plan, db, data, cluster)
        errors = run_threads(work, workers, loop.on_event, cluster.stopped)
    if errors and len(loop.store.all()) < plan.trials:
        raise errors[0]


def _work(plan: SearchPlan, number: int, on_event: OnEvent) -> None:
    """Be the worker of that number, in a process of its own."""
    with Database.open(plan.storage, answered=True) as db:
        _walk(plan, db, plan.open_data(notify(on_event)), None, number, on_event)


def _walk(
    plan: SearchPlan,
    db: Database,
    data: DataSet,
    cluster: Cluster | None,
    number: int,
    on_event: OnEvent,
) -> None:
    """Be the worker of that number."""
    opening = _opening(plan, db, data, on_event, cluster, worker=True)
    with store_errors(), opening as loop:
        loop.run(plan.trials, plan.timeout_s)


@contextmanager
def _opening(
    plan: SearchPlan,
    db: Database,
    data: DataSet,
    on_event: OnEvent,
    cluster: Cluster | None,
    *,
    worker: bool = False,
) -> Iterator[Loop]:
    """Open what the search needs; a `worker` relies on its driver's checks and description."""
    opening = _Opening(plan, db, data, on_event, cluster, worker)
    with reopening(db, opening.open, notify(on_event)) as loop:
        yield loop


@contextmanager
def reopening(
    db: Database, open_all: Callable[[ExitStack], T], notify: Callable[[str], None]
) -> Iterator[T]:
    """Hold what `open_all` opens; closed at the end, and before it is opened again.

    A database that has not answered yet is not waited for: its URL is to be corrected.

    Args:
        db: The database.
        open_all: Opens; what is to be closed goes onto the stack.
        notify: Is called when the database went away.

    Raises:
        ConfigError: It cannot be opened.
        StoreError: It failed for as long as ends the loop too, or in a way that stays.
    """
    outages = Outages(notify)
    while True:
        with ExitStack() as things:
            try:
                with store_errors():
                    found = open_all(things)
            except (*DATABASE, ConfigError) as failed:  # of a new engine's first connection
                if not db.answered and not was_interrupted(failed):
                    raise
                outages.wait_out(failed)
                continue
            yield found
            return


@dataclass
class _Opening:
    """How a search opens, again if the database went away meanwhile.

    Attributes:
        plan: The search.
        db: Its database.
        data: Its images.
        on_event: Is called with every event.
        cluster: The cluster that trains and measures, or None.
        described: Whether the search was checked and described; a worker's is by its driver.
    """

    plan: SearchPlan
    db: Database
    data: DataSet
    on_event: OnEvent
    cluster: Cluster | None
    described: bool

    def __post_init__(self) -> None:
        """End what is under way at its next event once the study or its database is gone."""
        on_event, self.gone = self.on_event, threading.Event()

        def ending(event: Event) -> None:
            if self.gone.is_set():
                self.db.check()
                raise StudyGone(self.plan.study)
            on_event(event)

        self.on_event = ending

    def open(self, things: ExitStack) -> Loop:
        """Open the loop; what is to be closed goes onto the stack."""
        plan, db = self.plan, self.db
        optuna_storage(db)  # first, so that its engine is the only one
        targets = self._open_targets(things)
        guidelines = self._choose_guidelines(targets)
        identity = plan.identity(targets, guidelines, self.data)
        study = create_or_resume(db, plan.study, identity, RandomSampler(plan.seed))
        with discarding_unclaimed(study, db):
            with db.alone_at(f"beginning of {plan.study}"):
                targets, reference_ms = correct_drift(targets, study)
                threads = self._training_threads(study)
                other = begun_from(plan.warm_start, study, db) if plan.warm_start else None
            store = RecordStore(db, study_key(study))
            weights = WeightsFolder.of_study(db, store.study)
            trainer = self._trainer(threads, weights)
            evaluator = StoredEvaluator(trainer, store, weights, notify(self.on_event))
            limits = RelaxedLimits(guidelines.limits, study) if guidelines.limits.limits else None
            walk = self._walk(limits or guidelines.limits, targets, evaluator, store)
            self._check(walk, store, study)
            seed = self._sampler_seed(store)
            start = WarmStart.of(plan.start, other, plan.space)
            if not self.described:
                self._describe(study, store, targets, guidelines, reference_ms, start)
            claim(study, store.study, db)
        walk = screened(walk, plan.latency, plan.space, store, self.on_event)
        audit = dataclasses.replace(plan.audit, salt=store.study)
        search = SamplerSetting(plan.space, walk, guidelines.limits, audit, start.informing)
        study.sampler = plan.sampling.make(seed, self._for_trainings(search, study))
        learns, heard = plan.sampling.learns_from_pruned, self.on_event
        return Loop(
            *(study, plan.space, walk, store, weights, learns, heard, audit, limits),
            gone=self.gone,
            starts=start.params,
        )

    def _walk(
        self,
        limits: GuidelineLimits,
        targets: Mapping[str, Target],
        evaluator: StoredEvaluator,
        store: RecordStore,
    ) -> Walk:
        """Return the questions to a candidate."""
        plan = self.plan
        walk = Walk(
            limits,
            plan.budget,
            targets,
            evaluator,
            enter(self.on_event),
            early=EarlyStop.of(evaluator, store, plan.trials) if plan.stop_rule else None,
        )
        form = plan.detector
        return walk if form is None else counting_detectors(walk, form, self.data)

    @cached_property
    def _sample(self) -> DataSample:
        assert isinstance(self.data, ImageData), "detectors are timed in float32 alone"
        return DataSample.of(self.data)

    def _open_targets(self, things: ExitStack) -> dict[str, Target]:
        elsewhere = None if self.cluster is None else partial(ClusterDevice.offered, self.cluster)
        targets: dict[str, Target] = {}
        for name in self.plan.targets:
            opened = self.plan.book.open(
                name,
                store=MeasurementStore(self.db),
                require_measured=self.plan.require_measured,
                notify=notify(self.on_event),
                images=lambda network: calibration_images(self._sample, network),
                elsewhere=elsewhere,
            )
            things.callback(opened.close)
            targets[name] = self._timed(opened)
        check_predictable(self.plan.latency, targets)
        return targets

    def _timed(self, target: Target) -> Target:
        """Let a target time the whole detector in a search for one."""
        plan = self.plan
        if plan.detector is None:
            return target
        return timed_whole(target, plan.detector, self.data, plan.space)

    def _choose_guidelines(self, targets: Mapping[str, Target]) -> Chosen:
        plan = self.plan
        if plan.detector is not None:
            return Chosen(Guidelines({}), {}, ("off",))
        began = began_with(self.db, plan.study).get("guidelines")
        profiles = ProfileStore(self.db)
        return choose(plan.guidelines, began, targets, profiles, plan.space, plan.budget)

    def _training_threads(self, study: optuna.Study) -> int:
        """CPU threads of the trainings of a study: all the same, since figures depend on it.

        A new study has one. On two cores, two trainings of one thread each finish more than one
        of two. Beside other programs, two threads are slower than one, since they wait for each
        other (`docs/lab/2026-11-29-a-thread-for-each-training.md`).
        """
        known: int | None = study.user_attrs.get(THREADS)
        if known is None:
            begun = bool(study.get_trials(deepcopy=False))  # by a program that had no workers
            known = former_threads() if begun else 1
            study.set_user_attr(THREADS, known)
        return known

    def _trainer(self, threads: int, weights: WeightsFolder) -> Trainer:
        plan = self.plan
        trainer = plan.evaluator.open(
            self.data,
            Setting(
                plan.seed,
                threads,
                plan.train_on,
                self._advance,
                weights.checkpoints,
                notify(self.on_event),
            ),
        )
        if self.cluster is None:
            return trainer
        order = TrainingOrder(
            plan.evaluator,
            absolute_data(plan.data),
            self.data.key,
            plan.skip_unreadable,
            plan.seed,
            threads,
            plan.train_on,
            weights.checkpoints.absolute(),
            versions(),
        )
        return ClusterTraining(trainer, order, self.cluster)

    def _advance(self, done: int, total: int) -> None:
        """Report a step of a training, and let another process time a network undisturbed."""
        advance(self.on_event)(done, total)
        TrainingPause.wait_out(notify=notify(self.on_event))

    def _for_trainings(self, search: SamplerSetting, study: optuna.Study) -> SamplerSetting:
        """Compare trainings by longer ones, and add first measurements, which take less time.

        The scores of detectors stand for themselves: credit was measured on classifiers.
        """
        plan = self.plan
        if not plan.evaluator.trains:
            return search
        search = dataclasses.replace(search, fused=plan.detector is None)
        if not plan.sampling.models_latency:
            return search
        with self.db.alone_at(f"first measurements of {plan.study}"):
            timed = timed_first(search, plan.seed, study, self.on_event)
        return dataclasses.replace(search, timed=timed)

    def _check(self, walk: Walk, store: RecordStore, study: optuna.Study) -> None:
        """Refuse other devices than those of the first record, or a budget that nothing keeps."""
        check_records(self.db, study)
        records = store.all()
        if records:
            _check_devices(self.plan.study, walk.targets, next(iter(records.values())))
        elif not self.described:
            check_feasible(self.plan.space, walk, self.plan.seed, notify(self.on_event))

    def _sampler_seed(self, store: RecordStore) -> int:
        """The seed of the sampler: with the seed of the first run most would repeat themselves."""
        if _is_alone(store, self.plan.workers or 1, notify(self.on_event)):
            begun = 0 if self.plan.sampling.resumes else store.known
            return (self.plan.seed + begun) % SEEDS
        return random.randrange(SEEDS)

    def _describe(
        self,
        study: optuna.Study,
        store: RecordStore,
        targets: Mapping[str, Target],
        guidelines: Chosen,
        reference_ms: Mapping[str, float],
        start: WarmStart,
    ) -> None:
        """Note with the study how it was begun, and report it."""
        plan = self.plan
        certificate = CertificateStore(self.db).find(
            plan.recipe.digest, self.data.provenance, plan.space.digest
        )
        certified = UNCERTIFIED if certificate is None else certificate.describe()
        note_data(study, plan.data)
        note_evaluator(study, plan.evaluator.place)
        if plan.evaluator.weights_by is not None and isinstance(self.data, ImageData):
            keep_sample(WeightsFolder.of_study(self.db, store.study), self.data)
        note_run(study, plan.words)
        lines = describe_search(
            plan, self.data, targets, guidelines, store.known, reference_ms, certified
        )
        lines += [*start.described, *([self.cluster.describe()] if self.cluster else [])]
        self.on_event(SearchDescribed(plan.study, tuple(lines)))
        self.described = True


def _is_alone(store: RecordStore, workers: int, notify: Callable[[str], None]) -> bool:
    """Whether nobody else chooses candidates, so that the seed can repeat what is chosen.

    Two workers with one seed would ask for the same networks. `notify` is called with a worker
    that was not asked for.
    """
    leases = TrialLeases(store.db, store.study).all()
    others = [lease.process for lease in leases if is_alive(lease.process) is not False]
    if workers == 1 and others:
        host, pid, _ = others[0].rsplit(":", 2)
        who = f"process {pid} on {host.partition('@')[0]}"
        notify(
            f"the seed will not repeat these candidates: {who} works at this study, or died at it"
        )
    return workers == 1 and not others


def _end_of(step: Callable[[], None]) -> NasError | KeyboardInterrupt | None:
    """Take a step; what ended it before its time."""
    try:
        with store_errors():
            step()
    except (StudyGone, DatabaseGone):
        raise
    except (NasError, KeyboardInterrupt) as end:
        return end
    return None


def _check_devices(study: str, targets: Mapping[str, Target], first: Record) -> None:
    """Refuse to resume if a target is not the device that the study was begun on.

    A latency of another machine or runtime beside the first ones would make a front of neither.
    """
    for name, target in targets.items():
        began, here = first.latencies[name].device, target.estimate(first.architecture).device
        if began != here:
            raise ConfigError(
                "study",
                study,
                f"must be another name: this one was begun on {began}; here is {here}",
            )
