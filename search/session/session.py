"""A search from the user's words to its front; all is checked before anything is written."""

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from nas_sv2.database.database import Database
from nas_sv2.database.processes import is_alive
from nas_sv2.errors import ConfigError, InfeasibleError, NasError
from nas_sv2.evaluate.fitting.determinism import core_count
from nas_sv2.evaluate.fitting.evaluator import Setting
from nas_sv2.evaluate.fitting.int8_images import calibration_images
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.events.events import Listener
from nas_sv2.search.events.interrupts import sigterm_interrupts
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.scale.cluster import Cluster, connected
from nas_sv2.search.scale.cluster_device import ClusterDevice
from nas_sv2.search.scale.cluster_training import ClusterTraining
from nas_sv2.search.scale.processes import run_workers
from nas_sv2.search.scale.threads import run_walkers
from nas_sv2.search.session.core_share import training_threads
from nas_sv2.search.session.guideline_choice import choose
from nas_sv2.search.session.plan import Question, Request
from nas_sv2.search.session.reopening import opened
from nas_sv2.search.walk.drift_correction import correct_drift
from nas_sv2.search.walk.early_stop import EarlyStop
from nas_sv2.search.walk.feasibility import check_feasible
from nas_sv2.search.walk.predict_first import check_predictable, measure_front, screened
from nas_sv2.search.walk.stored_evaluator import StoredEvaluator
from nas_sv2.search.walk.walk import Walk
from nas_sv2.studies.findings.audit import Pruned, audit_guidelines
from nas_sv2.studies.findings.certificate import UNCERTIFIED
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.certificate_store import CertificateStore
from nas_sv2.studies.storage.places import note_data, note_evaluator
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import note_run
from nas_sv2.studies.storage.study import (
    began_with,
    claim,
    create_or_resume,
    optuna_storage,
    store_errors,
    study_key,
)
from nas_sv2.studies.storage.trial_lease import TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    Attributes:
        study: The name of its study.
        records: Every record by its trial.
        ended_by: What ended it before its time: an error, or the user's KeyboardInterrupt.
        pruned: What the guidelines turned away.
    """

    study: str
    records: Mapping[int, Record]
    ended_by: NasError | KeyboardInterrupt | None = None
    pruned: Sequence[Pruned] = ()


def run_search(request: Request, db: Database, listener: Listener) -> Found:
    """Search as asked; the same request goes on where an earlier one was ended.

    While another process is at the study, this one joins it.

    Args:
        request: What is asked; workers open the database at its `storage`.
        db: The same database.
        listener: Is told of everything.

    Raises:
        ConfigError: A word of the request cannot be meant; nothing is written.
        InfeasibleError: No sampled network keeps the budget.
        NasError: A target or the database cannot be opened.
    """
    at = nullcontext(None) if request.ray is None else connected(request.ray)
    with (
        at as cluster,
        sigterm_interrupts(),
        store_errors(),
        _opened(request, db, listener, cluster) as search,
    ):
        ended_by = _end_of(lambda: _run(request, db, search, listener, cluster))
        if ended_by is None or isinstance(ended_by, InfeasibleError):
            ended_by = _end_of(lambda: measure_front(search.loop.walk, search.store)) or ended_by
        records = search.store.all()
        with store_errors():
            pruned = audit_guidelines(search.loop.study.get_trials(deepcopy=False), records)
        return Found(search.question.study, records, ended_by, pruned)


@dataclass(frozen=True)
class _Search:
    """A search that can begin: everything is open."""

    question: "Question"
    store: RecordStore
    loop: Loop


def _run(
    request: Request, db: Database, search: _Search, listener: Listener, cluster: Cluster | None
) -> None:
    """Search in this process, or in as many as asked for; in threads where others work."""
    if request.workers == 1:
        search.loop.run(request.trials, search.question.timeout_s)
        return
    if cluster is None:
        errors = run_workers(partial(_work, request), request.workers, listener)
    else:
        work = partial(_walk, request, db, cluster)
        errors = run_walkers(work, request.workers, listener, cluster.stopped)
    if errors and len(search.store.all()) < request.trials:
        raise errors[0]


def _work(request: Request, number: int, listener: Listener) -> None:
    """What the worker of that number does, in a process of its own."""
    with Database.open(request.storage, answered=True) as db:
        _walk(request, db, None, number, listener)


def _walk(
    request: Request, db: Database, cluster: Cluster | None, number: int, listener: Listener
) -> None:
    """What the worker of that number does."""
    with store_errors(), _opened(request, db, listener, cluster, worker=True) as search:
        search.loop.run(request.trials, search.question.timeout_s)


@contextmanager
def _opened(
    request: Request,
    db: Database,
    listener: Listener,
    cluster: Cluster | None,
    *,
    worker: bool = False,
) -> Iterator[_Search]:
    """Open what the search needs; a `worker` relies on its driver having checked and said it."""
    question = Question.of(request, listener.waits)
    opening = _Opening(request, question, listener, cluster, worker)
    with opened(db, opening, listener.waits) as search:
        yield search


@dataclass
class _Opening:
    """How a search opens, anew where the database went away meanwhile.

    Attributes:
        request: What is asked.
        question: The same, understood.
        listener: Of the user.
        cluster: That trains and measures, if any.
        said: Whether it was said what is searched; of a worker by its driver.
    """

    request: Request
    question: Question
    listener: Listener
    cluster: Cluster | None
    said: bool

    def __call__(self, db: Database, open_things: ExitStack) -> _Search:
        """The search, with all that is to be closed on the stack."""
        request, question = self.request, self.question
        listener, cluster = self.listener, self.cluster
        optuna_storage(db)  # first, so that its engine is the only one
        measurements = MeasurementStore(db)
        targets: dict[str, Target] = {}
        for name in question.targets:
            targets[name] = question.book.open(
                name,
                store=measurements,
                require_measured=request.require_measured,
                told=listener.waits,
                images=partial(calibration_images, question.data),
                elsewhere=None if cluster is None else partial(ClusterDevice.offered, cluster),
            )
            open_things.callback(targets[name].close)
        check_predictable(request.latency, targets)
        guidelines = choose(
            request.guidelines,
            began_with(db, question.study).get("guidelines"),
            targets,
            ProfileStore(db),
            question.space,
            question.budget,
        )
        study = create_or_resume(
            db,
            question.study,
            question.identity(targets, request, guidelines),
            question.sampler.make(request.seed),
        )
        with db.alone_at(f"beginning of {question.study}"):
            targets, reference_ms = correct_drift(targets, study)
            share = (
                core_count() // request.workers
                if cluster is None
                else cluster.share(request.workers)
            )
            threads = training_threads(study, share)
        store = RecordStore(db, study_key(study))
        weights = WeightsFolder.of_study(db, store.study)
        setting = Setting(
            request.seed,
            threads,
            request.train_on,
            listener.advanced,
            weights.checkpoints,
            listener.waits,
        )
        training = question.evaluator.open(question.data, setting)
        if cluster is not None:
            order = question.training_order(request, threads, weights.checkpoints)
            training = ClusterTraining(training, order, cluster)
        evaluator = StoredEvaluator(training, store, weights)
        walk = Walk(guidelines.limits, question.budget, targets, evaluator, listener.entered)
        if request.stop_rule:
            walk = dataclasses.replace(walk, early=EarlyStop.of(evaluator, store))
        done = len(store.all())
        if done:
            _check_devices(question.study, targets, next(iter(store.all().values())))
        elif not self.said:
            check_feasible(question.space, walk, request.seed)
        study.sampler = question.sampler.make(
            request.seed + done
            if _is_alone(store, request.workers, listener.waits)
            else random.randrange(2**32)
        )
        if not self.said:
            certificate = CertificateStore(db).find(
                question.recipe.digest, question.data.provenance, question.space.digest
            )
            said = UNCERTIFIED if certificate is None else certificate.describe()
            note_data(study, request.data)
            note_evaluator(study, question.evaluator.place)
            asked = dataclasses.replace(request, evaluator=question.evaluator.words)
            note_run(study, dataclasses.asdict(asked) | {"study": question.study})
            lines = question.describe(targets, request, guidelines, done, reference_ms, said)
            listener.began(question.study, lines + ([cluster.describe()] if cluster else []))
            self.said = True
        walk = screened(walk, request.latency, question.space, store, listener)
        learns = question.sampler.learns_from_pruned
        audit = dataclasses.replace(question.audit, salt=store.study)
        loop = Loop(study, question.space, walk, store, weights, learns, listener, audit)
        claim(study, store.study, db)
        return _Search(question, store, loop)


def _is_alone(store: RecordStore, workers: int, told: Callable[[str], None]) -> bool:
    """Whether nobody else chooses candidates, so that the seed can repeat what is chosen.

    With the seed of the first run a sampler would repeat its first candidates; two workers with
    one seed would ask for the same networks. `told` is told of a worker that was not asked for.
    """
    leases = TrialLeases(store.db, store.study).all()
    others = [lease.process for lease in leases if is_alive(lease.process) is not False]
    if workers == 1 and others:
        host, pid, _ = others[0].rsplit(":", 2)
        who = f"process {pid} on {host.partition('@')[0]}"
        told(
            f"candidates will not repeat from --seed: {who} is at this study, or died at it there"
        )
    return workers == 1 and not others


def _end_of(step: Callable[[], None]) -> NasError | KeyboardInterrupt | None:
    """Take a step; what ended it before its time."""
    try:
        with store_errors():
            step()
    except (NasError, KeyboardInterrupt) as end:
        return end
    return None


def _check_devices(study: str, targets: Mapping[str, Target], first: Record) -> None:
    """Refuse to go on where a target is not the device that the study was begun on.

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
