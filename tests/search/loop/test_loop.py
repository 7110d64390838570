"""The loop on a real Optuna study in a real SQLite file."""

import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import optuna
import pytest
from doubles import EventRecorder, FakeEvaluator, FakeTarget, small_space
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState
from running import running
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from nas_sv2.database.database import Database
from nas_sv2.database.processes import is_alive, process_name
from nas_sv2.errors import (
    ConfigError,
    DeviceError,
    EvaluationError,
    InfeasibleError,
    MeasurementError,
    StoreError,
)
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.user_target import UserTarget
from nas_sv2.search.asking.sampler import SamplerSetting
from nas_sv2.search.asking.samplers import SAMPLERS
from nas_sv2.search.events.events import Event, TrialAsked
from nas_sv2.search.loop import loop
from nas_sv2.search.loop.claim import TrialClaim
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.walk.audit import MATURE, Audit, RelaxedLimits
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import Guidelines, g4_elementwise
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.attributes import (
    AUDITED,
    DUPLICATE,
    ERROR,
    PRUNED,
    REJECTED,
    RELAXED,
)
from nas_sv2.studies.findings.audit import audit_guidelines
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.facts import times_of
from nas_sv2.studies.storage.record_store import May, RecordStore
from nas_sv2.studies.storage.study import create_or_resume
from nas_sv2.studies.storage.trial_lease import TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

IDENTITY = {"targets": {"fake": "measured"}}


class Bench:
    """A loop with stand-ins, on a database of its own."""

    def __init__(
        self, folder: Path, sampler: str = "random", budget: Budget | None = None
    ) -> None:
        self.storage = f"sqlite:///{folder / 'studies.db'}"
        self.db = Database.open(self.storage)
        self.db.migrate()
        self.store = RecordStore(self.db, "s")
        self.target, self.evaluator = FakeTarget(), FakeEvaluator()
        self.folder, self.sampler, self.heard = folder, sampler, EventRecorder()
        self.budget = budget or Budget()
        self.space = small_space()
        self.guidelines = Guidelines({})
        self.audit = Audit(share=0.0)
        self.starts: list[dict[str, object]] = []

    def run(self, trials: int, timeout_s: float | None = None) -> optuna.Study:
        choice = SAMPLERS[self.sampler]
        study = create_or_resume(Database.open(self.storage), "s", IDENTITY, RandomSampler())
        targets = {"fake": self.target}
        limits = RelaxedLimits(self.guidelines, study)
        walk = Walk(limits, self.budget, targets, self.evaluator)
        search = SamplerSetting(self.space, walk, self.guidelines, self.audit)
        study.sampler = choice.make(len(self.store.all()), search)
        weights = WeightsFolder.of_study(Database.open(self.storage), "s")
        learns = choice.learns_from_pruned
        loop = Loop(
            study, self.space, walk, self.store, weights, learns, self.heard, self.audit, limits
        )
        loop.starts = self.starts
        loop.run(trials, timeout_s)
        return study


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.db.close()


def states(study: optuna.Study) -> Counter[str]:
    return Counter(trial.state.name for trial in study.get_trials())


def test_the_front_that_is_shown_later_finds_its_weights(bench: Bench) -> None:
    """A beaten candidate may come onto it, so its weights stay while they are few."""
    weights = WeightsFolder.of_study(bench.db, "s")

    class Saving(FakeEvaluator):
        def evaluate(self, architecture: Architecture) -> Evaluation:
            weights.save(architecture.digest, {"w": np.ones(1, np.float32)})
            return super().evaluate(architecture)

    bench.evaluator = Saving()
    bench.run(8)
    records = bench.store.all()
    assert len(Front(records).members) < len(records) == 8
    assert all(weights.find(one.architecture.digest) for one in records.values())


def test_weights_that_cannot_be_deleted_end_no_search_and_are_said_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = WeightsFolder.of_study(bench.db, "s")

    class Folders(FakeEvaluator):
        def evaluate(self, architecture: Architecture) -> Evaluation:
            (weights.file(architecture.digest) / "in it").mkdir(parents=True)
            return super().evaluate(architecture)

    bench.evaluator = Folders()
    monkeypatch.setattr(
        loop, "too_far", lambda records: [one.architecture.digest for one in records.values()]
    )
    bench.run(3)
    assert len(bench.store.all()) == 3
    assert bench.heard.notices == [f"weights cannot be deleted in {weights.path}: Is a directory"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_sampler_finds_distinct_networks_and_is_told_all_limits(
    tmp_path: Path, sampler: str
) -> None:
    bench = Bench(tmp_path, sampler, Budget(flops=0.086e6))
    study = bench.run(10)
    records = bench.store.all()
    assert len(records) == 10
    assert len({record.architecture.digest for record in records.values()}) == 10
    assert len(bench.evaluator.asked) == len(set(bench.evaluator.asked)) == 10
    for trial in study.get_trials():
        assert trial.constraints.keys() == {"flops"}
        rejected = REJECTED in trial.user_attrs
        assert rejected == (trial.constraints["flops"] > 0)
        if rejected:
            pruned = trial.state == TrialState.PRUNED
            nothing_seen = trial.number < min(records)
            assert pruned == (SAMPLERS[sampler].learns_from_pruned or nothing_seen)
    assert ("rejected" in bench.heard.verdicts) == (sampler != "ehvi")  # which weighs first
    assert all(
        records[trial.number].feasible
        for trial in study.best_trials
        if not {DUPLICATE, REJECTED} & trial.user_attrs.keys()
    )
    bench.db.close()


def test_a_duplicate_is_answered_from_the_store(bench: Bench) -> None:
    study = bench.run(16)  # of 48 networks
    assert "duplicate" in bench.heard.verdicts
    twins = [trial for trial in study.get_trials() if DUPLICATE in trial.user_attrs]
    for twin in twins:
        first = study.get_trials()[twin.user_attrs[DUPLICATE]]
        assert (twin.values, twin.constraints) == (first.values, first.constraints)
    assert len(bench.evaluator.asked) == 16


def test_a_finished_study_asks_nothing_more(bench: Bench) -> None:
    bench.run(3)
    bench.run(3)
    assert len(bench.evaluator.asked) == 3
    bench.run(5)
    assert len(bench.evaluator.asked) == 5


def test_a_second_study_name_does_not_see_the_first(bench: Bench) -> None:
    bench.run(2)
    assert RecordStore(bench.db, "other").all() == {}


def test_the_timeout_begins_no_trial(bench: Bench) -> None:
    bench.run(3, timeout_s=1e-9)
    assert not bench.evaluator.asked


def test_a_fault_fails_its_trial_and_the_search_goes_on(bench: Bench) -> None:
    bench.target.fault = lambda number: MeasurementError("odd") if number == 2 else None
    bench.evaluator.fault = lambda number: EvaluationError("loss") if number == 3 else None
    study = bench.run(4)
    failed = [trial for trial in study.get_trials() if trial.state == TrialState.FAIL]
    assert [trial.user_attrs[ERROR] for trial in failed] == ["odd", "loss"]
    assert bench.heard.verdicts.count("failed") == 2
    assert len(bench.store.all()) == 4


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -1.0, 0.0, 10**400, "2", True])
def test_a_device_and_an_evaluator_that_answer_nonsense_cost_their_trials_alone(
    bench: Bench, nonsense: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that is not finite reaches the database, which every study in it shares."""

    @dataclass
    class Nonsense:
        name: str = "fake"
        provenance: str = "emulated"
        asked: int = 0

        def estimate(self, network: Network) -> Latency:
            self.asked += 1
            ms = nonsense if self.asked == 2 else 1.0
            return Latency.of(ms, "emulated", "a board")

    def evaluate(architecture: Architecture) -> Evaluation:
        bench.evaluator.asked.append(architecture.digest)
        return Evaluation(accuracy=nonsense if len(bench.evaluator.asked) == 2 else 0.5)

    bench.target = UserTarget(Nonsense())  # type: ignore[assignment, arg-type]
    monkeypatch.setattr(bench.evaluator, "evaluate", evaluate)
    study = bench.run(4)
    failed = [trial for trial in study.get_trials() if trial.state == TrialState.FAIL]
    kinds = ["latency"] if nonsense == 0.0 else ["latency", "evaluation"]  # 0 % may be true
    assert len(failed) == len(kinds)
    assert failed[0].user_attrs[ERROR].startswith("fake: a board: ms must be a number")
    assert len(bench.store.all()) == 4
    with bench.db.connect() as connection:
        rows = connection.execute(text("SELECT value, value_type FROM trial_values")).all()
    assert len(rows) == 8
    assert all(kind == "FINITE" and math.isfinite(value) for value, kind in rows)


def test_a_candidate_that_is_refused_is_a_failure_too(bench: Bench) -> None:
    refusal = ConfigError("stride", 32, "must be at most 16")
    bench.evaluator.fault = lambda number: refusal
    with pytest.raises(ConfigError, match="stride must be at most 16"):
        bench.run(2)
    assert len(bench.evaluator.asked) == loop.FAILURES


def test_the_third_fault_in_a_row_ends_the_search_with_its_message(bench: Bench) -> None:
    bench.target.fault = lambda number: MeasurementError(f"fault {number}")
    with pytest.raises(MeasurementError, match="fault 3"):
        bench.run(4)


@pytest.mark.parametrize("end", [DeviceError("unplugged"), KeyboardInterrupt()])
def test_an_interrupted_candidate_is_asked_again_first(
    bench: Bench, end: DeviceError | KeyboardInterrupt
) -> None:
    bench.target.fault = lambda number: end if number == 3 else None
    with pytest.raises(type(end)):
        bench.run(5)
    assert len(bench.store.all()) == 2
    interrupted = bench.target.asked[-1]
    study = bench.run(5)
    assert bench.target.asked[3] == interrupted
    assert len(bench.store.all()) == 5
    assert states(study)["FAIL"] == 1


def test_an_unexpected_error_is_a_bug_and_stops_the_search(bench: Bench) -> None:
    bench.evaluator.fault = lambda number: 1 // 0  # type: ignore[assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        bench.run(2)


def test_a_search_that_meets_nothing_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REJECTIONS", 25)
    bench.budget = Budget(flops=1)
    with pytest.raises(InfeasibleError, match="25 rejected"):
        bench.run(2)


def test_an_exhausted_space_ends_the_search(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "DUPLICATES", 10)
    bench.space = small_space(depths=1)
    with pytest.raises(InfeasibleError, match="10 known ones"):
        bench.run(13)  # of 12 networks
    assert bench.heard.verdicts.count("duplicate") >= 10


def test_a_study_in_use_is_joined_and_the_others_trial_left_alone(bench: Bench) -> None:
    bench.run(1)
    study = create_or_resume(Database.open(bench.storage), "s", IDENTITY, RandomSampler(seed=0))
    study.ask().set_user_attr("worker", process_name(os.getppid()))
    assert states(bench.run(2)) == {"COMPLETE": 2, "RUNNING": 1}


def test_a_network_that_another_worker_is_at_is_left_to_it(bench: Bench) -> None:
    bench.run(1)
    study = create_or_resume(Database.open(bench.storage), "s", IDENTITY, RandomSampler(seed=0))
    (first,) = bench.store.all().values()
    suggester = RandomSuggester(random.Random(1))
    candidates = iter(lambda: bench.space.sample(suggester), None)
    network = next(one for one in candidates if one.digest != first.architecture.digest)
    leases = TrialLeases(bench.db, "s")
    token = leases.take(lambda others: others == 0)
    assert token is not None
    assert leases.bind(token, 99, network.digest)
    study.enqueue_trial(bench.space.params_of(network))
    bench.evaluator.fault = lambda number: leases.let_go(token)  # before there would be no room
    bench.run(3)
    left = study.get_trials()[1]
    assert left.state == TrialState.FAIL
    assert left.user_attrs[ERROR] == "the network that trial 99 is about"
    assert bench.heard.verdicts[1] == "duplicate"
    assert leases.all() == []


def test_a_candidate_that_another_worker_took_over_is_not_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [True, False]
    monkeypatch.setattr(TrialClaim, "holds", lambda claim: answers.pop(0) if answers else True)
    study = bench.run(3)
    assert "another worker took the candidate over" in bench.heard.outcomes[1].reason
    assert states(study) == {"COMPLETE": 3, "FAIL": 1}
    assert bench.evaluator.asked[1] == bench.evaluator.asked[2]  # asked again at once
    assert len(bench.store.all()) == 3


def test_who_tells_too_late_finds_out_and_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial is taken over after the last look at the lease."""
    save = RecordStore.save

    def saved(store: RecordStore, number: int, record: Record, may: May) -> bool:
        allowed = save(store, number, record, may)
        if number == 1:
            name = create_or_resume(
                Database.open(bench.storage), "s", IDENTITY, RandomSampler(seed=0)
            )
            name.enqueue_trial(name.get_trials()[1].params)
            name.tell(1, state=TrialState.FAIL)
        return allowed

    monkeypatch.setattr(RecordStore, "save", saved)
    study = bench.run(3)
    assert "another worker took the candidate over" in bench.heard.outcomes[1].reason
    assert states(study) == {"COMPLETE": 3, "FAIL": 1}
    assert sorted(bench.store.all()) == [0, 2, 3]
    assert len(bench.evaluator.asked) == 3  # what it had found is found


@pytest.mark.parametrize("passes", [True, False])
def test_an_outage_of_the_database_is_survived_and_a_fault_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    said = "database is locked" if passes else "database or disk is full"
    save, calls = RecordStore.save, []

    def saved(store: RecordStore, number: int, record: Record, may: May) -> bool:
        calls.append(number)
        if len(calls) == 2:
            raise StoreError(said) from OperationalError("", {}, sqlite3.OperationalError(said))
        return save(store, number, record, may)

    monkeypatch.setattr(RecordStore, "save", saved)
    if not passes:
        with pytest.raises(StoreError, match="disk is full"):
            bench.run(3)
        return
    study = bench.run(3)
    assert states(study) == {"COMPLETE": 3, "FAIL": 1}
    assert sorted(bench.store.all()) == [0, 2, 3]
    assert TrialLeases(bench.db, "s").all() == []


def test_the_trial_of_another_host_is_left_alone(bench: Bench) -> None:
    bench.run(1)
    study = create_or_resume(Database.open(bench.storage), "s", IDENTITY, RandomSampler(seed=0))
    study.ask().set_user_attr("worker", "elsewhere:1:1")
    assert states(bench.run(2)) == {"COMPLETE": 2, "RUNNING": 1}


def test_a_record_saved_before_the_crash_is_told_not_made_again(bench: Bench) -> None:
    """What a crash between saving and telling leaves behind."""
    study = create_or_resume(Database.open(bench.storage), "s", IDENTITY, TPESampler(seed=0))
    trial = study.ask()
    architecture = small_space().sample(trial)
    walk = Walk(Guidelines({}), Budget(), {"fake": bench.target}, bench.evaluator)
    bench.store.save(trial.number, walk.assess(architecture))
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    trial.set_user_attr("worker", process_name(process.pid))
    process.kill()
    process.communicate()
    after = bench.run(1)
    assert len(bench.evaluator.asked) == 1
    assert states(after) == {"FAIL": 1, "COMPLETE": 1}
    assert list(bench.store.all()) == [1]


def test_a_worker_is_known_by_more_than_its_number() -> None:
    name = process_name()
    assert name is not None
    assert is_alive(name)
    assert is_alive(name + "0") is False
    assert is_alive(name.replace(":", "x:", 1)) is None


CHILD = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    sys.path.insert(0, {here!r})
    from test_loop import Bench
    bench = Bench(Path({folder!r}))
    bench.evaluator.seconds = 0.15
    print("ready", flush=True)
    bench.run(12)
"""


def test_killed_twice_and_resumed_a_search_loses_only_the_running_trial(tmp_path: Path) -> None:
    here = Path(__file__).parent
    code = textwrap.dedent(CHILD).format(
        tests=str(here.parents[1] / "stand_ins"), here=str(here), folder=str(tmp_path)
    )
    bench = Bench(tmp_path)
    survivors: set[str] = set()
    for kill_after in (3, 7):
        with running([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
            deadline = time.monotonic() + 60
            while len(bench.store.all()) < kill_after and time.monotonic() < deadline:
                time.sleep(0.02)
            child.send_signal(signal.SIGKILL)
        kept = {record.architecture.digest for record in bench.store.all().values()}
        assert kill_after <= len(kept) < 12
        assert survivors <= kept
        survivors = kept
    study = bench.run(12)
    told = [
        trial
        for trial in study.get_trials(states=(TrialState.COMPLETE,))
        if DUPLICATE not in trial.user_attrs
    ]
    assert len(told) == 12
    assert len({trial.user_attrs["architecture"] for trial in told}) == 12
    assert not survivors & set(bench.evaluator.asked)
    assert states(study)["RUNNING"] == 0
    assert states(study)["FAIL"] <= 2
    bench.db.close()


def test_a_baseline_that_failed_or_was_interrupted_is_asked_again_by_the_next_run(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.space = LEVELS["40M"]
    for end in (MeasurementError("odd"), KeyboardInterrupt()):
        calls = len(bench.target.asked)
        bench.target.fault = lambda number, end=end, calls=calls: (  # type: ignore[misc]
            end if number == calls + 1 else None
        )
        if isinstance(end, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                bench.run(2)
        else:
            bench.run(1)
    bench.run(3)
    found = {record.baseline for record in bench.store.all().values()}
    assert set(bench.space.baselines) <= found
    bench.db.close()


def test_starts_are_asked_after_the_baselines_and_only_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "random", Budget(flops=0.11e6))
    drawn = RandomSuggester(random.Random(3))
    networks = {one.digest: one for one in (bench.space.sample(drawn) for _ in range(40))}
    by_flops = sorted(networks.values(), key=lambda one: cost_of(lower(one)).flops)
    small, large = by_flops[:3], by_flops[-1]
    assert cost_of(lower(large)).flops > 0.11e6
    bench.starts = [bench.space.params_of(one) for one in (small[0], large, small[1], small[2])]
    bench.target.fault = lambda number: KeyboardInterrupt() if number == 2 else None
    with pytest.raises(KeyboardInterrupt):
        bench.run(5)
    bench.target.fault = lambda number: None
    study = bench.run(5)
    first, interrupted, third = (one.digest for one in small)
    assert bench.evaluator.asked[:3] == [first, third, interrupted]  # asked again at the end
    bench.run(6)
    queued = [trial.system_attrs.get("fixed_params") for trial in study.get_trials()]
    # The interrupted one was asked again; the one beyond the budget was not.
    assert [queued.count(params) for params in bench.starts] == [1, 1, 2, 1]
    assert states(study)["PRUNED"] >= 1
    bench.db.close()


def test_rejections_and_duplicates_in_turn_end_the_search_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DUPLICATES", 10)
    bench = Bench(tmp_path, "random", Budget(flops=0.07e6))
    bench.space = small_space(depths=2)
    with pytest.raises(InfeasibleError, match="hardly has 20 networks"):
        bench.run(20)
    bench.db.close()


# The audit of the guidelines


def pruned_in(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.get_trials() if PRUNED in trial.user_attrs]


def test_a_guideline_that_prunes_the_front_is_found_out_and_relaxed(bench: Bench) -> None:
    bench.guidelines, bench.audit = Guidelines({"G4": 0.05}), Audit(share=1.0)
    study = bench.run(MATURE + 2)
    records = bench.store.all()
    assert all(record.feasible for record in records.values())
    for trial in pruned_in(study):
        score = g4_elementwise(lower(records[trial.number].architecture))
        assert trial.user_attrs[AUDITED] == {"G4": pytest.approx(score / 0.05)}
    notices = [outcome.notice for outcome in bench.heard.outcomes]
    assert not any(notices[: MATURE - 1])  # on a front of a few is almost everything
    assert "relaxed: G4 by" in notices[MATURE - 1]
    front = [entry.number for entry in Front(records).members]
    scores = [g4_elementwise(lower(records[number].architecture)) for number in front]
    assert study.user_attrs[RELAXED]["G4"] >= max(scores) / 0.05 * (1 - 1e-9)
    (found,) = audit_guidelines(study.get_trials(), Front(records))
    assert found.audited == found.pruned == len(pruned_in(study))
    assert found.entered == len({t.number for t in pruned_in(study)} & set(front)) > 0


def test_what_was_relaxed_stays_so_when_the_search_goes_on(bench: Bench) -> None:
    bench.guidelines, bench.audit = Guidelines({"G4": 0.05}), Audit(share=1.0)
    slack = bench.run(MATURE).user_attrs[RELAXED]["G4"]
    bench.audit = Audit(share=0.0)
    study = bench.run(MATURE + 2)
    assert study.user_attrs[RELAXED]["G4"] == slack
    later = bench.store.all()[max(bench.store.all())]
    assert 0.05 < g4_elementwise(lower(later.architecture)) <= 0.05 * slack * (1 + 1e-9)


def test_what_another_worker_relaxes_meanwhile_is_not_counted_twice(bench: Bench) -> None:
    """How far a candidate is beyond a limit goes by the limits that it was held against."""

    class Other(EventRecorder):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if not isinstance(event, TrialAsked):
                return
            study = optuna.load_study(study_name="s", storage=bench.storage)
            study.set_user_attr(RELAXED, {"G4": 3.0})

    bench.guidelines, bench.audit, bench.heard = (
        Guidelines({"G4": 0.05}),
        Audit(share=1.0),
        Other(),
    )
    study = bench.run(4)
    assert pruned_in(study)
    for trial in pruned_in(study):
        score = g4_elementwise(lower(bench.store.all()[trial.number].architecture))
        assert trial.user_attrs[AUDITED] == {"G4": pytest.approx(score / 0.05)}


def test_what_two_workers_relax_at_once_stays_relaxed() -> None:
    study = optuna.create_study()
    ours, theirs = (RelaxedLimits(Guidelines({"G1": 1.0, "G4": 1.0}), study) for _ in range(2))
    ours.learn({1: {"G1": 1.5}})
    study.set_user_attr(RELAXED, {})  # as the other read it before we wrote
    theirs.learn({2: {"G4": 2.0}})
    assert study.user_attrs[RELAXED] == {"G4": 2.0}, "ours was written over"
    ours.learn({})
    assert study.user_attrs[RELAXED] == {"G1": 1.5, "G4": 2.0} == dict(ours.limits)


def test_what_is_beaten_relaxes_nothing(bench: Bench) -> None:
    bench.sampler = "tpe"  # it asks again for what is beaten
    bench.run(12)  # unguided: a front
    bench.guidelines, bench.audit = Guidelines({"G4": 0.3}), Audit(share=1.0)
    study = bench.run(20)
    records = bench.store.all()
    front = {entry.number for entry in Front(records).members}
    beaten = [trial for trial in pruned_in(study) if trial.number not in front]
    assert beaten
    wanted = [t.user_attrs[AUDITED]["G4"] for t in pruned_in(study) if t.number in front]
    assert study.user_attrs.get(RELAXED, {}).get("G4", 1.0) >= max(wanted, default=1.0)
    assert (
        len(beaten) + len(wanted)
        == audit_guidelines(study.get_trials(), Front(records))[0].audited
    )


def test_without_an_audit_nothing_pruned_is_assessed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.guidelines = Guidelines({"G4": 0.37})  # about half of this space
    study = bench.run(8)
    assert any(PRUNED in trial.user_attrs for trial in study.get_trials())
    for trial in study.get_trials():
        if PRUNED in trial.user_attrs:
            assert AUDITED not in trial.user_attrs
            assert trial.state == TrialState.PRUNED
    assert all(record.excesses["G4"] <= 0 for record in bench.store.all().values())
    bench.db.close()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("stage2.kernel", 99, "must be one of"),
        ("stage2.depth", 1000, "must be from"),
        ("head", "many", "must be from 16 to 32 in steps of 16; got 'many'"),
        ("head", float("inf"), "must be from"),  # Optuna could not read the study any more
        ("head", float("nan"), "must be from"),
        ("head", None, "must be from"),
        ("stage2.se", [], "must be one of"),
        ("Head", 16, "'Head' must be a choice of the space, such as head, "),
        ("", 1, "'' must be a choice of the space, such as "),
    ],
)
def test_a_queued_value_outside_the_space_fails_its_trial_once(
    bench: Bench, name: str, value: object, said: str
) -> None:
    study = create_or_resume(bench.db, "s", IDENTITY, RandomSampler(seed=0))
    for _ in range(loop.FAILURES + 1):  # more than failed trials that end a search
        study.enqueue_trial({name: value})
    study = bench.run(2)
    failed = [trial for trial in study.get_trials() if trial.state == TrialState.FAIL]
    assert len(failed) == loop.FAILURES + 1
    for trial in failed:
        assert name in trial.user_attrs[ERROR] and said in trial.user_attrs[ERROR]
    assert len(bench.store.all()) == 2


def test_times_are_utc_in_whatever_zone_a_study_was_made_and_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime.now(UTC)
    try:
        for zone in ("Asia/Tokyo", "America/New_York"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            bench.run(len(bench.store.all()) + 1)
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        read = optuna.load_study(study_name="s", storage=bench.storage)
        times = times_of(read.get_trials(), bench.store.all())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert began <= times.steps[0].began <= times.steps[1].began <= datetime.now(UTC)
    assert 0 < times.work_s <= times.wall_s <= (datetime.now(UTC) - began).total_seconds()
