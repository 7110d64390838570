"""One process at a time on a device.

Two claims have to be had: a file lock, which excludes the processes of this user on this machine
and is let go of by the system when its holder dies, and, where there is a database, a lease in it
(`lease.py`), which excludes processes of other machines. They are held around one call to a
device, not around a search.
"""

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas_sv2.database.processes import in_words
from nas_sv2.errors import DeviceError, NasError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Engine

PATIENCE_S = 600.0
"""How long a process waits for one holder; a measurement takes 2 to 10 s, on a slow core 2 min."""
POLL_S = 0.2


class Claim(Protocol):
    """A right to the device that one process at a time has."""

    def take(self, longest_s: float) -> str | None:
        """Take it, for at most so long; None if it is ours now, else who has it."""

    def let_go(self) -> None:
        """Give it back."""


@dataclass(frozen=True, slots=True)
class Exclusive:
    """The right to use a device.

    Attributes:
        name: What the user calls the device, for messages.
        claims: What has to be had, in this order.
        told: Is told once of everyone who is waited for.
        patience_s: How long to wait for one holder; of many workers each has its turn.
    """

    name: str
    claims: tuple[Claim, ...]
    told: Callable[[str], None] = lambda line: None
    patience_s: float = PATIENCE_S

    @contextlib.contextmanager
    def held(self, longest_s: float) -> Iterator[None]:
        """Hold the device; waits for its turn.

        Args:
            longest_s: After this time another may take it, if we have not let go of it.

        Raises:
            DeviceError: Somebody else held it for too long; says who.
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
                self.told(f"{self.name}: waiting for {holder}, which is using it")
                last, ends = holder, time.monotonic() + self.patience_s
            if time.monotonic() >= ends:
                waited = f"{self.patience_s:g} s"
                raise DeviceError(f"{self.name}: waited {waited} for {holder}, which is using it")
            time.sleep(POLL_S)


@dataclass(slots=True, eq=False)
class FileLock:
    """A lock among the processes of this user on this machine.

    Attributes:
        path: The file; it holds who has it.
    """

    path: Path
    _descriptor: int | None = None

    @classmethod
    def of(cls, key: str) -> "FileLock":
        """The lock of what `key` names."""
        return cls(_lock_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock")

    def take(self, longest_s: float) -> str | None:
        """Take it; a holder that died has let go of it, so `longest_s` does not matter."""
        descriptor = self._opened()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with os.fdopen(descriptor, "rb") as file:
                return file.read(200).decode(errors="replace") or "another process"
        if not self._is(descriptor):  # somebody tidied it away between the two calls
            os.close(descriptor)
            return "another process"
        with contextlib.suppress(OSError):  # a full disk: only the name of the holder is lost
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, in_words().encode(), 0)
        self._descriptor = descriptor
        return None

    def let_go(self) -> None:
        """Give it back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _opened(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"{self.path}: no lock can be made: {error.strerror}") from error

    def _is(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def hold_now(lock: FileLock, refuse: Callable[[str], NasError]) -> Iterator[None]:
    """Hold a lock without waiting for it.

    Args:
        lock: The lock.
        refuse: Makes the error from the words for the process that has it.

    Raises:
        NasError: Another process has it.
    """
    if (holder := lock.take(0)) is not None:
        raise refuse(holder)
    try:
        yield
    finally:
        lock.let_go()


@contextlib.contextmanager
def alone_at(engine: "Engine", what: str) -> Iterator[None]:
    """Hold the name `what` in a database; waits for its turn, `PATIENCE_S` for one holder.

    A file lock for an SQLite file, which is on one machine; else the server's. Both go with a
    holder that dies; one that stands still keeps them.

    Raises:
        StoreError: Another process did not let go of it, or the database cannot be asked.
    """
    from nas_sv2.database.turns import SQLITE, turn_at  # brings SQLAlchemy

    with contextlib.ExitStack() as held:
        if engine.dialect.name == SQLITE:
            lock = FileLock.of(f"{Path(engine.url.database or '').resolve()} {what}")
            claim = Exclusive(what, (lock,), patience_s=PATIENCE_S)
            try:
                held.enter_context(claim.held(PATIENCE_S))
            except DeviceError as error:
                raise StoreError(str(error)) from error
        else:
            held.enter_context(turn_at(engine, what, PATIENCE_S))
        yield


def _lock_folder() -> Path:
    """This user's own folder: in a shared one, others could hold our locks."""
    folder = Path(tempfile.gettempdir(), f"nas-sv2-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise StoreError(f"{folder}: no lock can be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StoreError(f"{folder}: another user has made it; remove it")
    return folder
