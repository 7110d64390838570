"""A loop that is ended at the worst moments leaves nothing half done."""

from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from doubles import EventRecorder, FakeEvaluator, FakeTarget, small_space
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from nas_sv2.database.database import Database
from nas_sv2.errors import DeviceError, NasError, StoreError
from nas_sv2.search.loop import claim
from nas_sv2.search.loop.claim import Orphans
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.record_store import May, RecordStore
from nas_sv2.studies.storage.study import create_or_resume
from nas_sv2.studies.storage.trial_lease import TrialLease
from nas_sv2.studies.storage.weights_folder import WeightsFolder

TRIALS = 4


class Bench:
    """A loop with stand-ins, on a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.storage = f"sqlite:///{folder / 'studies.db'}"
        self.db = Database.open(self.storage)
        self.db.migrate()
        self.store, self.evaluator, self.heard = (
            RecordStore(self.db, "s"),
            FakeEvaluator(),
            EventRecorder(),
        )
        identity = {"targets": {"fake": "measured"}}
        sampler = RandomSampler(seed=5)
        self.study = create_or_resume(Database.open(self.storage), "s", identity, sampler)

    def loop(self) -> Loop:
        walk = Walk(Guidelines({}), Budget(), {"fake": FakeTarget()}, self.evaluator)
        weights = WeightsFolder.of_study(Database.open(self.storage), "s")
        return Loop(self.study, small_space(), walk, self.store, weights, True, self.heard)

    def leases(self) -> list[TrialLease]:
        return self.loop()._claim.leases.all()

    def told(self) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(states=(TrialState.COMPLETE,))

    def running(self) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(states=(TrialState.RUNNING,))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.db.close()


def away() -> StoreError:
    """What a server says that is started anew just then."""
    error = StoreError("the studies cannot be written")
    error.__cause__ = OperationalError("", {}, Exception("terminating connection"))
    return error


@pytest.fixture
def interrupted_save(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The third record is saved, and the user's interrupt comes before its trial is told."""
    save, saved = RecordStore.save, []

    def interrupted(self: RecordStore, trial: int, record: Record, may: May) -> bool:
        save(self, trial, record, may)
        saved.append(trial)
        if len(saved) == 3:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(RecordStore, "save", interrupted)
    yield
    assert len(saved) > 3


def test_a_record_that_was_saved_and_not_told_is_told_by_whoever_goes_on(
    bench: Bench, interrupted_save: None
) -> None:
    """Not left beside as many others as were asked for."""
    loop = bench.loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run(TRIALS)
    assert (len(bench.told()), len(bench.store.all()), bench.running()) == (2, 3, [])
    assert bench.leases() == []
    bench.loop().run(TRIALS)
    assert {trial.number for trial in bench.told()} == set(bench.store.all())
    assert len(bench.told()) == TRIALS
    assert len(bench.evaluator.asked) == TRIALS  # none was trained twice


def test_while_it_cannot_be_asked_again_nobody_takes_its_room(
    bench: Bench, interrupted_save: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Orphans, number: int, reason: str, *, died: bool = False) -> None:
        raise away()

    ask_again = Orphans.ask_again
    monkeypatch.setattr(Orphans, "ask_again", fails)
    with pytest.raises(KeyboardInterrupt):
        bench.loop().run(TRIALS)
    (running,) = bench.running()
    (lease,) = bench.leases()
    assert lease.trial == running.number
    monkeypatch.setattr(Orphans, "ask_again", ask_again)
    monkeypatch.setattr(claim, "is_alive", lambda name: False)
    bench.loop().run(TRIALS)
    assert {trial.number for trial in bench.told()} == set(bench.store.all())
    assert (len(bench.told()), bench.running(), bench.leases()) == (TRIALS, [], [])


def test_who_stood_still_before_saving_does_not_take_the_record_of_who_went_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a laptop does that sleeps between two lines of ours."""
    check, checked = Loop._check_claim, []

    def stands_still(self: Loop) -> None:
        check(self)
        checked.append(self)
        if len(checked) == 3:  # another takes over what it was at, and comes to the end
            (lease,) = bench.leases()
            assert lease.trial is not None
            token = self._claim.leases.take_over(lease)
            assert token is not None
            self._orphans.ask_again(lease.trial, "its worker stood still")
            self._claim.leases.let_go(token)
            bench.loop().run(TRIALS)

    monkeypatch.setattr(Loop, "_check_claim", stands_still)
    bench.loop().run(TRIALS)
    assert "failed" in bench.heard.verdicts
    assert len(bench.told()) == TRIALS
    assert {trial.number for trial in bench.told()} == set(bench.store.all())
    assert (bench.running(), bench.leases()) == ([], [])


@pytest.mark.parametrize("end", [KeyboardInterrupt, lambda: DeviceError("it is gone")])
def test_an_end_is_not_lost_over_a_database_that_fails_just_then(
    bench: Bench,
    end: Callable[[], NasError | KeyboardInterrupt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The search would go on after its driver told it to end."""
    ask_again, asked = Orphans.ask_again, []

    def fails_once(self: Orphans, number: int, reason: str, *, died: bool = False) -> None:
        asked.append(number)
        if len(asked) == 1:
            raise away()
        ask_again(self, number, reason, died=died)

    monkeypatch.setattr(Orphans, "ask_again", fails_once)
    bench.evaluator.fault = lambda number: end() if number == 3 else None
    with pytest.raises((KeyboardInterrupt, DeviceError)):
        bench.loop().run(TRIALS)
    assert len(bench.evaluator.asked) == 3
    assert len(asked) == 2
    assert (bench.running(), bench.leases()) == ([], [])
