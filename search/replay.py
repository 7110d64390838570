"""Replays a study on another device: networks are measured again and accuracies are kept.

The result is a study like any other. Fronts, exports and dashboards read it, and a search can
continue it. The trials keep their numbers. A network is measured, then its record saved, then its
trial added. In this order, a kill between two steps neither loses nor doubles a trial, and the
same request resumes the replay.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_sv2.database.database import Database
from nas_sv2.database.locks import hold_now
from nas_sv2.documents import Name, check_value
from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.breakdown.priced import breakdown_behind, breakdown_of
from nas_sv2.latency.devices.measured_device import Images
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import MODULES, TargetBook
from nas_sv2.latency.targets.doctor import trust_warning
from nas_sv2.latency.targets.target import Target
from nas_sv2.latency.targets.user_target import LatencySource
from nas_sv2.search.session.guidelines import MEASURED
from nas_sv2.search.walk.budget import Budget, read_budget
from nas_sv2.search.walk.drift_correction import correct_drift
from nas_sv2.studies.findings.attributes import (
    ARCHITECTURE,
    AUDITED,
    BASELINE,
    DUPLICATE,
    ERROR,
    FORESEEN,
    IDENTITY,
    KEY,
    NOT_REPLAYED,
    PRUNED,
    REJECTED,
    REPLAY_OF,
    REPLAYED,
    classifiers_identity,
)
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import STOP_RULE, Record
from nas_sv2.studies.findings.replay_comparison import Reasons, ReplayComparison, compare
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.places import (
    data_of,
    data_place,
    evaluator_place,
    find_sample,
    note_data,
    note_evaluator,
)
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import (
    claim,
    create_or_resume,
    load_study,
    store_errors,
    study_key,
    trials_of,
)
from nas_sv2.studies.storage.weights_folder import WeightsFolder

if TYPE_CHECKING:
    from nas_sv2.evaluate.data.data_sample import DataSample


COPIED = (ARCHITECTURE, PRUNED, AUDITED, DUPLICATE, REJECTED, ERROR, BASELINE, FORESEEN)


@dataclass(frozen=True)
class TrialCopy:
    """Copies the trials of one study to another.

    Attributes:
        first: The study that is copied.
        study: The new study; its identity names its guidelines.
        old: The records of the first study, by trial.
        store: The records of the new study.
        target: Measures the networks for the new study.
        budget: Limits of the new study.
        notify: Called with a line for each network that cannot be measured.
    """

    first: optuna.Study
    study: optuna.Study
    old: Mapping[int, Record]
    store: RecordStore
    target: Target
    budget: Budget
    notify: Callable[[str], None]

    def check(self) -> None:
        """Refuse a device other than before, and a study with a running search.

        Raises:
            ConfigError: If the device differs, or a trial is under way, whose number is taken.
        """
        under_way = (TrialState.RUNNING, TrialState.WAITING)
        if trials := self.study.get_trials(deepcopy=False, states=under_way):
            numbers = ", ".join(str(trial.number) for trial in trials)
            allowed = f"must be a study without a running search: trials {numbers} are under way"
            raise ConfigError("study", self.study.study_name, allowed)
        known = next(iter(self.store.all().values()), None)
        if known is None:
            return
        began = known.latencies[self.target.name].device
        here = self.target.estimate(known.architecture).device
        if began != here:
            allowed = f"must be another name: this one was begun on {began}; here is {here}"
            raise ConfigError("study", self.study.study_name, allowed)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Add the trials that the new study lacks, in order, and records that came later."""
        progress(0, len(self.old))
        done = 0
        for trial in trials_of(self.first):
            record = self.old.get(trial.number)
            later = record is not None and not self._is_told(record)
            if trial.number >= self._count() or later:
                self._add(trial, record)
            done += record is not None
            progress(done, len(self.old))

    def _add(self, trial: FrozenTrial, record: Record | None) -> None:
        of = self._duplicated(trial)
        attributes = {name: trial.user_attrs[name] for name in COPIED if name in trial.user_attrs}
        attributes[REPLAYED] = f"{self.first.study_name}:{trial.number}"
        if record is None and of is None:
            self.study.add_trial(self._placeholder(trial, attributes))
            return
        try:
            here = self._measured(of or record)
        except MeasurementError as error:
            self.notify(f"trial {trial.number} is left out: {error}")
            self.study.add_trial(
                create_trial(state=TrialState.FAIL, user_attrs={**attributes, ERROR: str(error)})
            )
            return
        if of is None:
            self.store.save(self._count(), here)
        self.study.add_trial(
            create_trial(
                values=list(here.sampler_objectives),
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
                constraints=self._constraints(here.excesses),
            )
        )

    def _measured(self, record: Record | None) -> Record:
        assert record is not None
        known = self.store.find(record.architecture.digest)
        if known is not None:  # saved by an ended process, or a duplicate
            return known[1]
        latency = self.target.estimate(record.architecture)
        excesses = {name: record.excesses.get(name, 0.0) for name in self._kept}
        if STOP_RULE in record.excesses:
            excesses[STOP_RULE] = record.excesses[STOP_RULE]
        excesses |= self.budget.latency_excesses({self.target.name: latency.ms})
        return dataclasses.replace(
            record, latencies={self.target.name: latency}, excesses=excesses
        )

    def _placeholder(self, trial: FrozenTrial, attributes: Mapping[str, Any]) -> FrozenTrial:
        """A trial that keeps the numbers equal: rejected as before, or without a verdict."""
        rejected = str(trial.user_attrs.get(REJECTED, ""))
        limit = rejected.partition(":")[0]
        if rejected and limit in self._constraints({}):
            return create_trial(
                state=TrialState.PRUNED,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=dict(attributes),
                constraints=self._constraints(trial.constraints),
            )
        why = rejected or f"{trial.state.name.lower()} in {self.first.study_name}"
        return create_trial(
            state=TrialState.FAIL, user_attrs={**attributes, NOT_REPLAYED: f"never trained: {why}"}
        )

    def _duplicated(self, trial: FrozenTrial) -> Record | None:
        """The record of the network that `trial` duplicates."""
        return self.old.get(trial.user_attrs.get(DUPLICATE, -1))

    def _constraints(self, excesses: Mapping[str, float]) -> dict[str, float]:
        """The excess over every limit, since samplers need all of them on each trial."""
        names = [*self._kept, *self.budget.latency_excesses({self.target.name: 0.0})]
        return {name: float(excesses.get(name, 0.0)) for name in names}

    @property
    def _kept(self) -> list[str]:
        """The limits that do not depend on the target."""
        return [
            *self.study.user_attrs[IDENTITY].get("guidelines", {}),
            *self.budget.cost_limits,
        ]

    def _is_told(self, record: Record) -> bool:
        known = self.store.find(record.architecture.digest)
        return known is not None and known[0] < self._count()

    def _count(self) -> int:
        return len(self.study.get_trials(deepcopy=False))


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """A replay in the user's words; the options of `nas-sv2 study replay`."""

    study: str
    target: str | LatencySource
    budgets: Sequence[str] | Budget = ()
    name: str | None = None
    require_measured: bool = False
    data: str | None = None


@dataclass(frozen=True)
class Replayed:
    """The result of a replay.

    Attributes:
        study: The name of the new study.
        front: Its front, with its records and estimates.
        comparison: Comparison of the two fronts.
        reasons: Reasons why networks joined or left the front, a line each.
        notes: Further facts, a line each.
    """

    study: str
    front: Front
    comparison: ReplayComparison
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def replay(
    request: ReplayRequest,
    db: Database,
    notify: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Replayed:
    """Measure every finished trial of a study on another target, as a study of its own.

    Args:
        request: The study and the new target.
        db: The database of both studies.
        notify: Called with a line about each wait, and each network that cannot be measured.
        progress: Called with the number of networks done and of all networks.

    Raises:
        ConfigError: If the request is not valid; nothing is written.
        DeviceError: If the target is gone; the same request resumes the replay.
        EvaluationError: If the images that int8 quantisation needs are missing.
        MeasurementError: If no network could be measured.
        StoreError: If the database cannot be read or written.
    """
    first = load_study(db, request.study)
    identity = dict(classifiers_identity(first.user_attrs, request.study, ("budget", "data")))
    book = TargetBook.of_study(identity)
    name = _name(book, request.target)
    budget = _budget(identity["budget"], request.budgets, name)
    new_name = f"{request.study}-on-{name}" if request.name is None else request.name
    check_value("name", new_name, Name)
    if new_name == request.study:
        raise ConfigError("name", new_name, "must differ from the name of the replayed study")
    old = RecordStore(db, study_key(first)).all()
    if not old:
        raise ConfigError("study", request.study, "must have a finished trial")
    with _hold(db, new_name), _opened(request, book, name, first, db, notify) as target:
        with store_errors():
            begun = _identity(identity, book, target, budget, request.study, study_key(first))
            study = _begin(db, new_name, begun, first, request.data)
            targets, reference_ms = correct_drift({name: target}, study)
            store = RecordStore(db, study_key(study))
            claim(study, store.study, db)
            copy = TrialCopy(first, study, old, store, targets[name], budget, notify)
            copy.check()
            copy.run(progress)
        _copy_weights(db, first, study, store.all())
        old_target = name if name in identity["targets"] else next(iter(identity["targets"]))
        was, front = (read_study(db, each).front for each in (request.study, new_name))
        comparison = compare(was, front, old_target, name)
        if not comparison.moves:
            raise MeasurementError(f"no network of {request.study} could be measured on {name}")
        reasons = _reasons(book, target, comparison, ProfileStore(db))
        why = tuple(reasons.why(move) for move in comparison.changed)
        notes = (
            *(
                f"{name}: the reference network counts as {ms:.3f} ms, against drift"
                for ms in reference_ms.values()
            ),
            *_trust(target),
            *_notes(identity, first, old, comparison),
            *reasons.sources(),
        )
    return Replayed(new_name, front, comparison, why, notes)


def _name(book: TargetBook, target: str | LatencySource) -> str:
    return book.one(target) if isinstance(target, str) else book.add(target)


def _opened(
    request: ReplayRequest,
    book: TargetBook,
    name: str,
    first: optuna.Study,
    db: Database,
    notify: Callable[[str], None],
) -> closing[Target]:
    target = book.open(
        name,
        store=MeasurementStore(db),
        require_measured=request.require_measured,
        notify=notify,
        images=_images(db, first, request.data, notify),
    )
    return closing(target)


def _begin(
    db: Database, name: str, identity: Mapping[str, Any], first: optuna.Study, moved: str | None
) -> optuna.Study:
    """Create or resume the study of the replay, and note where its data and evaluator are."""
    # The sampler is never used; a later search has its own.
    study = create_or_resume(db, name, identity, RandomSampler())
    note_evaluator(study, evaluator_place(first))
    note_data(study, moved or data_place(first))
    return study


def _reasons(
    book: TargetBook, target: Target, comparison: ReplayComparison, profiles: ProfileStore
) -> Reasons:
    before = comparison.moves[0].before
    network, latency = before.architecture, before.latencies[comparison.old_target]
    return Reasons(
        comparison,
        breakdown_behind(book, comparison.old_target, network, latency, profiles),
        breakdown_of(target, network, profiles),
        profiles.remedy(target),
    )


def _identity(
    first: Mapping[str, Any], book: TargetBook, target: Target, budget: Budget, name: str, key: str
) -> dict[str, Any]:
    """The facts on which all trials of the replay depend; a search needs them to continue."""
    guidelines = first.get("guidelines", {})
    rest = {
        field: value for field, value in first.items() if field not in (KEY, REPLAY_OF, MODULES)
    }
    modules = book.modules([target.name])
    return {
        **rest,
        "targets": {target.name: target.provenance},
        **({MODULES: modules} if modules else {}),
        "latency": "measured",
        "budget": budget.to_json(),
        # Guidelines of one device's times do not apply to another device.
        "guidelines": {} if MEASURED in guidelines else guidelines,
        REPLAY_OF: {"study": name, "key": key},
    }


def _budget(first: Mapping[str, Any], asked: Sequence[str] | Budget, target: str) -> Budget:
    """The study's limits on cost, with latency limits on the new target."""
    found = read_budget(asked, [target])
    if found.cost_limits:
        given = asked if isinstance(asked, Budget) else ", ".join(asked)
        allowed = (
            f"must be a latency on {target}, such as 25ms: FLOPs, params and memory stay those "
            "of the study, whose candidates were trained within them"
        )
        raise ConfigError("budget", given, allowed)
    return Budget(**{**first, "latency_ms": found.latency_ms})


def _notes(
    identity: Mapping[str, Any],
    first: optuna.Study,
    old: Mapping[int, Record],
    comparison: ReplayComparison,
) -> list[str]:
    """Facts that the figures do not show, a line each."""
    on, before = comparison.target, comparison.old_target
    notes = [*_limit_notes(identity["budget"]["latency_ms"], first, comparison)]
    stopped = sum(record.excesses.get(STOP_RULE, 0.0) > 0 for record in old.values())
    if stopped:
        notes.append(
            f"{_networks(stopped)} not trained to the end, for their latency on {before}, and "
            "stay off the front"
        )
    if MEASURED in identity.get("guidelines", {}):
        notes.append(
            f"candidates were pruned by the guidelines of {', '.join(identity['targets'])}; what "
            f"they pruned may be good on {on}"
        )
    latencies = [move.before.latencies[before] for move in comparison.moves]
    predicted = sum(latency.provenance == "predicted" for latency in latencies)
    if predicted:
        notes.append(f"{_networks(predicted)} predicted, not measured, on {before}")
    missing = len(old) - len(comparison.moves)
    if missing:
        notes.append(f"{_networks(missing)} not measured on {on}")
    return notes


def _limit_notes(
    limits_ms: Mapping[str, float], first: optuna.Study, comparison: ReplayComparison
) -> Iterator[str]:
    """Describe the first study's limits on latency, which the replay does not have."""
    on = comparison.target
    for name, ms in limits_ms.items():
        limit = f"{ms:g} ms on {name} is a limit of the study and none of the replay"
        if name == comparison.old_target:
            there = f"{ms * comparison.typical:.3g}"
            limit += f"; for the typical network that is {there} ms on {on}"
        yield limit
    rejections = (str(t.user_attrs.get(REJECTED, "")) for t in first.get_trials(deepcopy=False))
    names = {f"{name}_ms" for name in limits_ms}
    rejected = sum(each.partition(":")[0] in names for each in rejections)
    if rejected:
        yield (
            f"{_networks(rejected)} rejected for latency on {', '.join(limits_ms)} and never "
            f"trained: what they would be on {on} is not known"
        )


def _trust(target: Target) -> list[str]:
    warning = trust_warning(target)
    return [] if warning is None else [warning]


def _networks(count: int) -> str:
    return f"{count} network{' was' if count == 1 else 's were'}"


@contextmanager
def _hold(db: Database, name: str) -> Iterator[None]:
    """Hold the right to write the replay, so that no trial is added twice.

    Errors about the new study name its parameter, because `study` is the replayed one.

    Raises:
        ConfigError: If another process holds it.
    """

    def held(holder: str) -> ConfigError:
        return ConfigError("name", name, f"is being written by {holder}; wait for it to finish")

    try:
        with hold_now(db.lock(f"replay to {name}"), held):
            yield
    except ConfigError as error:
        if (error.field, error.value) != ("study", name):
            raise
        raise ConfigError("name", name, error.sentence) from error


def _images(
    db: Database, study: optuna.Study, moved: str | None, notify: Callable[[str], None]
) -> Images:
    """The images for int8 quantisation: those that the study kept, or else from its data.

    They are opened at their first use.

    Raises:
        ConfigError: If the data are not at `moved`.
    """

    @cache
    def sample() -> "DataSample":
        from nas_sv2.evaluate.data.data_sample import DataSample

        kept = find_sample(WeightsFolder.of_study(db, study_key(study)))
        return DataSample.of(data_of(study, moved, notify)) if moved or kept is None else kept

    if moved is not None:
        sample()  # opened once, so that only a valid place is kept

    def images(network: Any) -> Any:
        from nas_sv2.evaluate.fitting.int8_images import calibration_images

        return calibration_images(sample(), network)

    return images


def _copy_weights(
    db: Database, first: optuna.Study, study: optuna.Study, records: Mapping[int, Record]
) -> None:
    """Copy the weights that the first study kept."""
    old, new = (WeightsFolder.of_study(db, study_key(each)) for each in (first, study))
    new.copy_from(old, (record.architecture.digest for record in records.values()))
