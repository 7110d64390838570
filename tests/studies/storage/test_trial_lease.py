"""Leases of trials on SQLite and PostgreSQL, and candidates that dead workers left."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from postgres import Postgres
from running import running
from sqlalchemy import event, text

from nas_sv2.database.database import Database
from nas_sv2.database.processes import process_name
from nas_sv2.errors import StoreError
from nas_sv2.search.loop import claim as seat_module
from nas_sv2.search.loop.claim import FATAL, Answers, Orphans, TrialClaim, Watch
from nas_sv2.search.loop.telling import Teller
from nas_sv2.studies.findings.attributes import ERROR, WORKER
from nas_sv2.studies.storage.study import optuna_storage
from nas_sv2.studies.storage.trial_lease import TakenNetwork, TakenTrial, TrialLeases


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'studies.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.database()
    db = Database.open(url)
    db.migrate()
    yield db
    db.close()


@pytest.fixture
def leases(db: Database) -> TrialLeases:
    return TrialLeases(db, "s")


def taken(leases: TrialLeases) -> str:
    token = leases.take(lambda others: True)
    assert token is not None
    return token


def test_there_is_room_for_so_many_and_no_more(db: Database, leases: TrialLeases) -> None:
    """However many ask at once, each by connections of its own."""
    found: list[str | None] = []

    def ask() -> None:
        for _ in range(3):
            found.append(leases.take(lambda others: others < 4))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 15
    assert sum(token is not None for token in found) == len(leases.all()) == 4
    assert TrialLeases(db, "other").take(lambda others: others == 0)


def test_no_two_have_one_trial_or_one_network(leases: TrialLeases) -> None:
    first, second = taken(leases), taken(leases)
    assert leases.bind(first, 3, "network")
    with pytest.raises(TakenTrial):
        leases.bind(second, 3, "another")
    with pytest.raises(TakenTrial):  # SQLite gave both the same trial of the queue
        leases.bind(second, 3, "network")
    with pytest.raises(TakenNetwork, match="the network that trial 3 is about"):
        leases.bind(second, 4, "network")
    assert {lease.trial for lease in leases.all()} == {3, 4}
    leases.let_go(first)
    assert leases.bind(second, 5, "network")
    assert not leases.bind(first, 6, "more")


def test_a_rival_that_lets_go_meanwhile_is_in_nobodys_way(
    db: Database, leases: TrialLeases
) -> None:
    """Between the refusal and the question whose it is."""
    first, second = taken(leases), taken(leases)
    assert leases.bind(first, 3, "network")

    def lets_go(*arguments: object) -> None:
        if str(arguments[2]).startswith("SELECT"):
            leases.let_go(first)

    event.listen(db.engine, "before_cursor_execute", lets_go)
    assert leases.bind(second, 4, "network")
    assert [lease.trial for lease in leases.all()] == [4]


def test_a_lease_in_place_of_another_needs_room_beside_the_others_alone(
    leases: TrialLeases,
) -> None:
    first, second = taken(leases), taken(leases)
    next_one = leases.take(lambda others: others < 2, in_place_of=first)
    assert {lease.token for lease in leases.all()} == {second, next_one}
    assert leases.take(lambda others: others < 1, in_place_of=next_one) is None
    assert [lease.token for lease in leases.all()] == [second]


def test_who_lives_keeps_his_lease(leases: TrialLeases) -> None:
    token = taken(leases)
    (seen,) = leases.all()
    assert leases.renew(token)
    assert leases.take_over(seen) is None  # what was seen is not so any more
    (seen,) = leases.all()
    ours = leases.take_over(seen)
    assert ours is not None
    assert leases.take_over(seen) is None
    assert not leases.renew(token)
    leases.let_go(token)  # not his to give back
    assert [lease.token for lease in leases.all()] == [ours]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock of claims shows; no other is to be asked."""
    now = [100.0]
    monkeypatch.setattr(seat_module, "now_s", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: 1 / 0)
    return now


def test_a_watch_goes_by_the_clock_that_it_is_given() -> None:
    watch = Watch(60)
    assert not watch.stands_still("lease", 1, 100)
    assert not watch.stands_still("lease", 1, 159)
    assert watch.stands_still("lease", 1, 161)
    assert not watch.stands_still("lease", 2, 161)
    watch.forget("lease")
    assert not watch.stands_still("lease", 2, 222)


def test_time_in_which_nothing_could_be_written_does_not_count(now: list[float]) -> None:
    answers = Answers(longest_s=20)
    for seconds in (10, 10, 60, 10):  # the third: an outage, or this machine slept
        answers.came()
        now[0] += seconds
    answers.came()
    assert answers.elapsed_s == 10 + 10 + 20 + 10


def test_a_machine_that_slept_asks_whether_its_lease_is_still_its_own(
    leases: TrialLeases, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = TrialClaim(leases, expires_s=60)
    assert claim.take(lambda others: True)
    (seen,) = leases.all()
    assert leases.take_over(seen) is not None
    assert claim.holds()  # seconds ago it was
    now[0] += 31
    assert not claim.holds()


def test_a_renewal_counts_from_when_it_was_begun(
    leases: TrialLeases, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine fell asleep between the database's answer and our next line."""
    claim = TrialClaim(leases, expires_s=60)
    assert claim.take(lambda others: True)
    renew = TrialLeases.renew

    def sleeps(self: TrialLeases, token: str) -> bool:
        answer = renew(self, token)
        now[0] += 600
        return answer

    monkeypatch.setattr(TrialLeases, "renew", sleeps)
    now[0] += 31
    assert claim.holds()
    monkeypatch.setattr(TrialLeases, "renew", renew)
    (seen,) = leases.all()
    assert leases.take_over(seen) is not None
    assert not claim.holds()


def test_the_clock_of_claims_goes_on_while_the_machine_sleeps() -> None:
    """Not to be tried without a machine to put to sleep: by the system's own words."""
    if sys.platform == "linux":
        assert seat_module._AWAKE_OR_ASLEEP == time.CLOCK_BOOTTIME
    before = seat_module.now_s()
    time.sleep(0.01)
    assert 0.01 <= seat_module.now_s() - before < 60


def test_a_claim_renews_itself_and_is_given_back(leases: TrialLeases) -> None:
    claim = TrialClaim(leases, expires_s=0.3)
    with claim.renewing():
        assert claim.take(lambda others: True)
        assert claim.take(lambda others: False)  # it has one
        ends = time.monotonic() + 30
        while leases.all()[0].beats < 2:
            assert time.monotonic() < ends
            time.sleep(0.02)
        assert claim.holds()
    assert leases.all() == []
    assert not claim.holds()


def test_a_claim_whose_candidate_is_done_asks_for_room_anew(leases: TrialLeases) -> None:
    claim = TrialClaim(leases)
    assert claim.take(lambda others: True)
    (first,) = leases.all()
    claim.done()
    assert claim.take(lambda others: others == 0)
    (second,) = leases.all()
    assert second.token != first.token
    assert claim.take(lambda others: False)  # not done yet
    claim.done()
    assert not claim.take(lambda others: False)
    assert leases.all() == []


def test_a_claim_that_is_done_stays_so_while_the_database_is_away(leases: TrialLeases) -> None:
    claim = TrialClaim(leases)
    assert claim.take(lambda others: True)
    claim.done()

    def away(others: int) -> bool:
        raise StoreError("away")

    with pytest.raises(StoreError):
        claim.take(away)
    assert len(leases.all()) == 1  # rolled back
    assert not claim.take(lambda others: False)
    assert leases.all() == []


def test_a_claim_renews_itself_while_its_worker_computes(leases: TrialLeases) -> None:
    """As a sampler does that thinks for longer than a lease may stand still."""
    claim = TrialClaim(leases, expires_s=0.6)
    with claim.renewing():
        assert claim.take(lambda others: True)
        ends, number = time.monotonic() + 1.2, 1
        while time.monotonic() < ends:
            number = number * 3 % 1_000_003
        assert leases.all()[0].beats >= 2


def test_a_claim_survives_a_database_that_is_away(
    leases: TrialLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def away(self: TrialLeases, token: str) -> bool:
        failed.set()
        raise StoreError("away")

    renew = TrialLeases.renew
    monkeypatch.setattr(TrialLeases, "renew", away)
    claim = TrialClaim(leases, expires_s=0.3)
    with claim.renewing():
        assert claim.take(lambda others: True)
        assert failed.wait(30)
        monkeypatch.setattr(TrialLeases, "renew", renew)
        ends = time.monotonic() + 30
        while not leases.all()[0].beats:
            assert time.monotonic() < ends
            time.sleep(0.02)


# What dead workers left


@pytest.fixture
def study(db: Database) -> optuna.Study:
    storage = optuna_storage(db)
    return optuna.create_study(storage=storage, study_name="s", directions=["maximize"] * 2)


@pytest.fixture
def dead() -> str:
    """The name of a process of this machine that is no more."""
    with running([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = process_name(process.pid)
    assert name is not None
    return name


def unfinished(study: optuna.Study, leases: TrialLeases, expires_s: float = 60) -> Orphans:
    teller = Teller.of(leases.db, study.study_name, ())
    return Orphans(study, TrialClaim(leases, expires_s), Watch(expires_s), teller)


def begun(study: optuna.Study, leases: TrialLeases, worker: str) -> tuple[int, str]:
    """A trial that `worker` is at, with a lease: its number and the lease's token."""
    trial = study.ask()
    trial.suggest_int("x", 0, 9)
    token = taken(leases)
    assert leases.bind(token, trial.number, f"network {trial.number}")
    with leases.db.begin() as connection:
        connection.execute(
            text("UPDATE nas_trial_leases SET process = :p WHERE token = :t"),
            {"p": worker, "t": token},
        )
    return trial.number, token


def queued(study: optuna.Study) -> list[int]:
    waiting = study.get_trials(states=(TrialState.WAITING,))
    return [trial.user_attrs["retry_of"] for trial in waiting]


def test_what_a_dead_process_left_is_asked_again_once(
    study: optuna.Study, leases: TrialLeases, dead: str
) -> None:
    number, _ = begun(study, leases, dead)
    params = study.get_trials()[number].params
    helpers = [unfinished(study, leases) for _ in range(4)]
    threads = [threading.Thread(target=helper.recover) for helper in helpers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queued(study) == [number]
    assert study.get_trials()[number].state == TrialState.FAIL
    assert leases.all() == []
    again = study.ask()
    assert {"x": again.suggest_int("x", 0, 9)} == params


def watching(helper: Orphans, now: list[float], seconds: int, every: int = 10) -> None:
    """So many seconds in which the database takes a write now and then."""
    for _ in range(0, seconds, every):
        now[0] += every
        helper.claim.take(lambda others: False)
        helper.recover()


def test_the_lease_of_another_machine_is_watched(
    study: optuna.Study, leases: TrialLeases, now: list[float]
) -> None:
    number, token = begun(study, leases, "elsewhere:1:1")
    helper = unfinished(study, leases)
    for _ in range(3):  # renewed in between
        watching(helper, now, 50)
        assert leases.renew(token)
    watching(helper, now, 60)
    assert queued(study) == []
    watching(helper, now, 20)
    assert queued(study) == [number]
    assert leases.all() == []


def test_an_outage_is_not_held_against_a_worker_of_another_machine(
    study: optuna.Study, leases: TrialLeases, now: list[float]
) -> None:
    """Nobody can renew a lease meanwhile; afterwards whoever lives has time to."""
    number, token = begun(study, leases, "elsewhere:1:1")
    helper = unfinished(study, leases)
    for _ in range(3):
        watching(helper, now, 20)
        now[0] += 70
        watching(helper, now, 10)  # it is still waiting to try again
        assert queued(study) == []
        assert leases.renew(token)
    now[0] += 70  # this time it died
    watching(helper, now, 80)
    assert queued(study) == [number]


def test_a_trial_without_a_lease_is_left_to_who_may_be_about_to_bind_it(
    study: optuna.Study, leases: TrialLeases, dead: str
) -> None:
    """Whoever asks has a lease already."""
    study.ask()
    alive, token = study.ask(), taken(leases)
    another = process_name(os.getppid())
    assert another is not None
    alive.set_user_attr(WORKER, another)
    unfinished(study, leases).recover()
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING] * 2
    leases.let_go(token)
    unfinished(study, leases).recover()
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "RUNNING"]
    alive.set_user_attr(WORKER, dead)
    unfinished(study, leases).recover()
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "FAIL"]


def test_a_trial_of_this_process_that_it_was_not_told_of_is_failed(
    study: optuna.Study, leases: TrialLeases
) -> None:
    """The server went away just after it had made the trial."""
    trial, token = study.ask(), taken(leases)
    trial.set_user_attr(WORKER, process_name())
    unfinished(study, leases).recover()  # another thread of ours may be about to bind it
    assert study.get_trials()[0].state == TrialState.RUNNING
    leases.let_go(token)
    unfinished(study, leases).recover()
    assert study.get_trials()[0].state == TrialState.FAIL


def test_a_trial_that_ended_is_not_asked_again(
    study: optuna.Study, leases: TrialLeases, dead: str
) -> None:
    """A kill between telling and giving the lease back."""
    number, _ = begun(study, leases, dead)
    study.tell(number, [1.0, 1.0])
    unfinished(study, leases).recover()
    assert queued(study) == []
    assert leases.all() == []


def test_a_candidate_that_kills_its_workers_is_given_up(
    study: optuna.Study, leases: TrialLeases, dead: str
) -> None:
    study.enqueue_trial({"x": 3})
    numbers = []
    for _ in range(FATAL):
        number, _token = begun(study, leases, dead)
        numbers.append(number)
        unfinished(study, leases).recover()
    assert queued(study) == []
    ended = [study.get_trials()[number] for number in numbers]
    assert [trial.params for trial in ended] == [{"x": 3}] * FATAL
    assert {trial.state for trial in ended} == {TrialState.FAIL}
    assert "3 workers died" in ended[-1].user_attrs[ERROR]
    assert leases.all() == []
