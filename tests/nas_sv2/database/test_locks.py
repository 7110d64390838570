"""One process at a time on a device: real processes hold it, wait for it, and die with it."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from nas_sv2.database import locks
from nas_sv2.database.database import Database
from nas_sv2.database.locks import Claim, Exclusive, FileLock, TrainingPause
from nas_sv2.database.processes import is_alive, process_name
from nas_sv2.errors import DeviceError, StoreError
from nas_sv2.latency.devices.command import CommandTemplate
from nas_sv2.latency.devices.local import LocalPython
from nas_sv2.latency.devices.open_device import Lease, device_at
from nas_sv2.latency.measurements.store import MeasurementStore

# Takes the claim, says so, and holds it until its stdin ends.
HOLDER = """
import sys
from pathlib import Path
from nas_sv2.database.database import Database
from nas_sv2.database.locks import Exclusive, FileLock
kind, where, longest_s = sys.argv[1:]
if kind == "lock":
    claim = FileLock(Path(where))
else:
    from nas_sv2.latency.devices.open_device import Lease
    claim = Lease(Database.open(where), "d")
with Exclusive("board", (claim,)).held(float(longest_s)):
    print("holds", flush=True)
    sys.stdin.read()
"""
KINDS = ("lock", "lease")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def store(url: str) -> Iterator[MeasurementStore]:
    store = MeasurementStore(Database.open(url))
    yield store
    store.db.close()


@pytest.fixture
def claim(store: MeasurementStore, tmp_path: Path) -> Callable[[str], Claim]:
    """Gives a claim of this process."""
    return lambda kind: FileLock(tmp_path / "d.lock") if kind == "lock" else Lease(store.db, "d")


@pytest.fixture
def hold(url: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that holds the device."""
    started: list[subprocess.Popen[str]] = []

    def hold(kind: str, longest_s: float = 60.0) -> subprocess.Popen[str]:
        where = str(tmp_path / "d.lock") if kind == "lock" else url
        command = [sys.executable, "-c", HOLDER, kind, where, str(longest_s)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        return process

    yield hold
    for process in started:
        process.kill()
        with process:  # closes its pipes
            pass


Hold = Callable[..., subprocess.Popen[str]]
Claims = Callable[[str], Claim]


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_is_waited_for_and_named(kind: str, hold: Hold, claim: Claims) -> None:
    holder = hold(kind)
    said: list[str] = []
    assert holder.stdin is not None
    threading.Timer(0.5, holder.stdin.close).start()
    began = time.monotonic()
    with Exclusive("board", (claim(kind),), said.append).held(60):
        assert 0.3 < time.monotonic() - began < 10
    assert len(said) == 1
    assert f"board: waiting for process {holder.pid} on " in said[0]


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_is_bounded(kind: str, hold: Hold, claim: Claims) -> None:
    holder = hold(kind)
    began = time.monotonic()
    with (
        pytest.raises(DeviceError, match=f"board: waited 0.3 s for process {holder.pid} on .*"),
        Exclusive("board", (claim(kind),), patience_s=0.3).held(60),
    ):
        raise AssertionError("the device is another's")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_process_holds_nothing(kind: str, hold: Hold, claim: Claims) -> None:
    holder = hold(kind)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Exclusive("board", (claim(kind),), patience_s=0).held(60):
        pass


def test_a_lease_of_another_machine_ends_by_itself(store: MeasurementStore) -> None:
    lease, other = Lease(store.db, "d"), Lease(store.db, "d")
    assert other.take(1.0) is None
    _set(store, "process = 'elsewhere:1:1', holder = 'process 1 on elsewhere'")
    assert lease.take(60) == "process 1 on elsewhere"
    with Exclusive("board", (lease,), patience_s=10).held(60):
        assert other.take(60) is not None
    other.let_go()  # not his to give back any more
    assert lease.take(60) is None


@pytest.mark.parametrize(("hours", "free"), [(1, True), (-1, False)])
def test_a_clock_that_was_set_back(hours: int, free: bool, store: MeasurementStore) -> None:
    """What was taken in the future is nonsense; what was taken long ago may still be held."""
    other = Lease(store.db, "d")
    other.take(7200)
    shift = f"taken_at = taken_at + {3600 * hours}, ends_at = ends_at + {3600 * hours}"
    _set(store, f"process = 'elsewhere:1:1', {shift}")
    assert (Lease(store.db, "d").take(60) is None) == free


def test_devices_do_not_stand_in_each_others_way(store: MeasurementStore, tmp_path: Path) -> None:
    assert Lease(store.db, "one").take(60) is None
    assert Lease(store.db, "two").take(60) is None
    locks = FileLock.of("one"), FileLock.of("two"), FileLock.of("one")
    assert locks[0].take(60) is None
    assert locks[1].take(60) is None
    assert locks[2].take(60) == _me()
    for lock in locks:
        lock.let_go()


def test_many_threads_take_turns(store: MeasurementStore, tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        claims = (FileLock(tmp_path / "d.lock"), Lease(store.db, "d"))
        with Exclusive("board", claims).held(60):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_what_failed_while_holding_lets_go(store: MeasurementStore) -> None:
    def fails() -> None:
        with Exclusive("board", (Lease(store.db, "d"),)).held(60):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert Lease(store.db, "d").take(60) is None


def test_a_full_database_is_said_and_costs_no_measurement(url: str) -> None:
    """SQLite's own limit on pages gives the error of a full disk."""
    store = MeasurementStore(Database.open(url))
    lease = Lease(store.db, "d")
    with store.db.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
    store.db.close()
    event.listen(
        store.db.engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count={pages}")
    )
    row = text("INSERT INTO nas_leases VALUES (:d, 't', 'h', 'p', 0, 0)")
    with pytest.raises(OperationalError, match="full"):
        while True:
            with store.db.begin() as connection:
                connection.execute(row, {"d": os.urandom(100).hex()})
    holding = Lease(store.db, "d" * 200)
    with pytest.raises(StoreError, match="cannot be leased: database or disk is full"):
        holding.take(60)
    holding.let_go()  # says nothing
    lease.let_go()
    store.db.close()


def test_a_lock_that_was_tidied_away_is_no_lock(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "d.lock"), FileLock(tmp_path / "d.lock")
    assert first.take(60) is None
    assert second.take(60) == _me()
    first.let_go()
    assert second.take(60) is None
    second.let_go()


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no lock can be made"):
        FileLock(tmp_path / "nowhere" / "d.lock").take(60)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home on a network, whose server takes none."""

    def refused(descriptor: int, operation: int) -> NoReturn:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(StoreError, match="no lock can be taken: No locks available"):
        FileLock(tmp_path / "lock").take(0)


def test_a_lock_beside_a_file_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    first, second, other = (FileLock.beside(file, key) for key in ("a", "a", "b"))
    assert first.take(60) is None
    assert second.take(60) == _me()
    assert other.take(60) is None
    first.let_go()
    assert second.take(60) is None
    other.let_go()
    second.let_go()
    assert list(tmp_path.iterdir()) == []


def test_many_threads_take_turns_at_a_lock_that_comes_and_goes(tmp_path: Path) -> None:
    inside: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            lock = FileLock.beside(tmp_path / "studies.db", "a")
            while lock.take(60) is not None:
                time.sleep(0.001)
            inside.append(number)
            assert inside == [number]
            inside.clear()
            lock.let_go()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert list(tmp_path.iterdir()) == []


def test_the_locks_of_a_user_do_not_depend_on_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FileLock.of("d")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert FileLock.of("d").path == first.path
    assert first.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("squatted", ["nobody's", "a link"])
def test_a_folder_of_locks_of_another_user_is_not_used(
    squatted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without a home falls back to the shared temporary folder, if nobody was there."""
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("pathlib.Path.home", _no_home)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"nas-sv2-{os.getuid()}"
    assert FileLock.of("d").path.parent == folder
    folder.rmdir()
    if squatted == "a link":
        folder.symlink_to("/")
    else:
        folder.mkdir()
        uid = os.getuid()
        monkeypatch.setattr("os.getuid", lambda: uid + 1)
        folder.rename(tmp_path / f"nas-sv2-{uid + 1}")
    with pytest.raises(StoreError, match="belongs to another user; set XDG_STATE_HOME"):
        FileLock.of("d")


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_processes_by_name() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = process_name(child.pid)
    assert name is not None
    assert is_alive(name)
    child.communicate(b"\n")
    assert is_alive(name) is False
    assert is_alive("elsewhere:1:1") is None


def _me() -> str:
    from nas_sv2.database.processes import in_words

    return in_words()


def _set(store: MeasurementStore, change: str) -> None:
    with store.db.begin() as connection:
        connection.execute(text(f"UPDATE nas_leases SET {change}"))


def test_trainings_pause_while_a_network_is_timed() -> None:
    pause = TrainingPause()
    TrainingPause.wait_out(0)
    with Exclusive("cpu", (pause,)).held(60):
        began = time.monotonic()
        TrainingPause.wait_out(0.2)
        assert time.monotonic() - began >= 0.2
        waiting = threading.Thread(target=TrainingPause.wait_out)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_long_pause_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SAID_AFTER_S", 0.1)
    said: list[str] = []
    TrainingPause.wait_out(0.5, said.append)
    assert said == []
    with Exclusive("cpu", (TrainingPause(),)).held(60):
        TrainingPause.wait_out(0.05, said.append)
        assert said == []
        TrainingPause.wait_out(0.5, said.append)
    assert said == ["trainings wait: another process times networks on this machine"]


def test_only_a_network_that_is_timed_on_this_machine_makes_trainings_pause() -> None:
    here = device_at("cpu", LocalPython())
    elsewhere = device_at("phone", CommandTemplate(("adb", "shell", "{remote}")))
    assert isinstance(here.exclusive.claims[-1], TrainingPause)
    assert not any(isinstance(claim, TrainingPause) for claim in elsewhere.exclusive.claims)
