"""Locks that let one process at a time use a device or a name in a database.

A device needs two locks. A file lock excludes the processes of this user on this machine; the
system releases it when its holder dies. If there is a database, a lease in it
(`latency.devices.open_device`) excludes processes of other machines. Both are held during one call
to a device, not during a search.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas_sv2.database.processes import in_words
from nas_sv2.errors import DeviceError, NasError, StoreError
from nas_sv2.folders import lock_folder

if TYPE_CHECKING:
    from sqlalchemy import Engine

PATIENCE_S = 600.0
"""Time that a process waits for one holder.

A measurement takes 2 to 10 s, on a slow core 2 min."""
POLL_S = 0.2
PAUSED_S = 0.05  # seconds between two looks of a training that is paused
SAID_AFTER_S = 15.0  # a pause of one network ends sooner


class Claim(Protocol):
    """A right that one process at a time can hold."""

    def take(self, longest_s: float) -> str | None:
        """Try to take the right for at most `longest_s`; return None, or its present holder."""

    def let_go(self) -> None:
        """Give the right back."""


@dataclass(frozen=True, slots=True)
class Exclusive:
    """The right to use a device.

    Attributes:
        name: The user's name for the device, for messages.
        claims: The rights to take, in this order.
        notify: Called with a line for each holder that is waited for.
        patience_s: The time to wait for one holder, in seconds. It restarts with each holder, as
            many workers take turns.
    """

    name: str
    claims: tuple[Claim, ...]
    notify: Callable[[str], None] = lambda line: None
    patience_s: float = PATIENCE_S

    @contextlib.contextmanager
    def held(self, longest_s: float) -> Iterator[None]:
        """Hold the device, after waiting for the turn.

        Args:
            longest_s: Time in seconds after which another process may take the device.

        Raises:
            DeviceError: Another process held the device for too long; the error names it.
            StoreError: The lock cannot be made or the database cannot be written.
        """
        with contextlib.ExitStack() as taken:
            for claim in self.claims:
                self._take(claim, longest_s)
                taken.callback(claim.let_go)
            yield

    def _take(self, claim: Claim, longest_s: float) -> None:
        last, ends = "", 0.0
        while (holder := claim.take(longest_s)) is not None:
            if holder != last:
                self.notify(f"{self.name}: waiting for {holder}, which is using it")
                last, ends = holder, time.monotonic() + self.patience_s
            if time.monotonic() >= ends:
                waited = f"{self.patience_s:g} s"
                raise DeviceError(f"{self.name}: waited {waited} for {holder}, which is using it")
            time.sleep(POLL_S)


@dataclass(slots=True, eq=False)
class FileLock:
    """A lock among processes of this machine.

    Attributes:
        path: The file, which holds the name of the holder.
        passing: Whether the file and its folder are made for the holder and removed after it.
    """

    path: Path
    passing: bool = False
    _descriptor: int | None = None

    @classmethod
    def of(cls, key: str) -> "FileLock":
        """Return the lock of this key among the processes of this user."""
        return cls(lock_folder() / _file_name(key))

    @classmethod
    def beside(cls, file: Path, key: str) -> "FileLock":
        """Return the lock of this key among all processes that use `file`, in `FILE.locks`."""
        file = file.resolve()
        return cls(file.with_name(f"{file.name}.locks") / _file_name(key), passing=True)

    def take(self, longest_s: float) -> str | None:
        """Try to take the lock; `longest_s` is unused, as the system releases dead holders'."""
        descriptor = self._opened()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with os.fdopen(descriptor, "rb") as file:
                return file.read(200).decode(errors="replace") or "another process"
        except OSError as error:  # such as a network file system without locks
            os.close(descriptor)
            raise StoreError(f"{self.path}: no lock can be taken: {error.strerror}") from error
        if not self._is(descriptor):  # the file was removed between the two calls
            os.close(descriptor)
            return "another process"
        with contextlib.suppress(OSError):  # a full disk: only the name of the holder is lost
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, in_words().encode(), 0)
        self._descriptor = descriptor
        return None

    def let_go(self) -> None:
        """Give the lock back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if self.passing:
            with contextlib.suppress(OSError):  # another process is about to take a lock
                self.path.unlink()
                self.path.parent.rmdir()
        os.close(descriptor)

    def _opened(self) -> int:
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            while True:
                try:
                    return os.open(self.path, os.O_RDWR | os.O_CREAT | flags, 0o644)
                except FileNotFoundError:  # another holder has just removed the folder
                    if not self.passing:
                        raise
                    self.path.parent.mkdir(exist_ok=True)
                except PermissionError:
                    if not self.path.exists():
                        raise
                    return os.open(self.path, os.O_RDONLY | flags)  # another user's: it suffices
        except OSError as error:
            raise StoreError(f"{self.path}: no lock can be made: {error.strerror}") from error

    def _is(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


@dataclass(slots=True, eq=False)
class TrainingPause:
    """A claim for a network that is timed here: it pauses this user's trainings.

    They would share caches, memory and the clock with the network. Between its steps a training
    calls `wait_out`. The system ends the pause if its holder dies.
    """

    _descriptor: int | None = None

    def take(self, longest_s: float) -> str | None:
        """Begin the pause; it waits for no more than the look of a training, which is short."""
        self._descriptor = self._opened()
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return None

    def let_go(self) -> None:
        """End the pause."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @classmethod
    def wait_out(
        cls, patience_s: float = PATIENCE_S, notify: Callable[[str], None] = lambda line: None
    ) -> None:
        """Wait until nothing is timed here, or for `patience_s`; a look takes microseconds.

        Args:
            patience_s: The longest wait, in seconds.
            notify: Called with one line if the wait is a long one.
        """
        began, said = time.monotonic(), False
        descriptor = cls._opened()
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    waited_s = time.monotonic() - began
                    if waited_s >= patience_s:
                        return
                    if waited_s >= SAID_AFTER_S and not said:
                        said = True
                        notify("trainings wait: another process times networks on this machine")
                time.sleep(PAUSED_S)
        finally:
            os.close(descriptor)

    @staticmethod
    def _opened() -> int:
        path = lock_folder() / _file_name("a network is timed")
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: no lock can be made: {error.strerror}") from error


@contextlib.contextmanager
def hold_now(lock: FileLock, refuse: Callable[[str], NasError]) -> Iterator[None]:
    """Hold a lock without waiting for it.

    Args:
        lock: The lock.
        refuse: Makes the error from the description of the holder.

    Raises:
        NasError: Another process holds the lock.
    """
    if (holder := lock.take(0)) is not None:
        raise refuse(holder)
    try:
        yield
    finally:
        lock.let_go()


@contextlib.contextmanager
def alone_at(engine: "Engine", what: str) -> Iterator[None]:
    """Hold the name `what` in a database; wait up to `PATIENCE_S` for one holder.

    An SQLite file, which is on one machine, has a file lock; a server has its own locks. Both are
    released when their holder dies, but not when it hangs.

    Raises:
        StoreError: Another process did not release the name, or the database cannot be asked.
    """
    from nas_sv2.database.turns import SQLITE, turn_at  # brings SQLAlchemy

    with contextlib.ExitStack() as held:
        if engine.dialect.name == SQLITE:
            lock = FileLock.beside(Path(engine.url.database or ""), what)
            claim = Exclusive(what, (lock,), patience_s=PATIENCE_S)
            try:
                held.enter_context(claim.held(PATIENCE_S))
            except DeviceError as error:
                raise StoreError(str(error)) from error
        else:
            held.enter_context(turn_at(engine, what, PATIENCE_S))
        yield


def _file_name(key: str) -> str:
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"
