"""Builds a device that is reached by the agent, and the lease by which machines take turns at it.

All times of a lease are the database's. A lease ends by itself. It can be taken over at once in
two cases: its process ran on this host and died, or it was taken in the future. A clock that was
set back leaves such leases.
"""

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Connection,
    Float,
    String,
    delete,
    extract,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.locks import Claim, Exclusive, FileLock, TrainingPause
from nas_sv2.database.processes import in_words, is_alive, process_name
from nas_sv2.database.schema import Base
from nas_sv2.errors import StoreError
from nas_sv2.latency.agent import agent
from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.devices.local import LocalPython
from nas_sv2.latency.devices.reconnecting import MAX_BYTES, ReconnectingDevice

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.store import MeasurementStore

Notify = Callable[[str], None]


def silent(line: str) -> None:
    """Ignore the line."""


def device_at(
    name: str,
    launcher: Launcher,
    store: "MeasurementStore | None" = None,
    notify: Notify = silent,
    max_bytes: int = MAX_BYTES,
) -> ReconnectingDevice:
    """Open a device on which `launcher` starts the agent; nothing is started yet.

        ReconnectingDevice        starts the agent again, waits for a lost connection
          Exclusive               one process at a time
            FileLock                of this host
            Lease                   of all hosts that share the database
            TrainingPause           this machine alone: our trainings wait
          AgentDevice             asks the agent, refuses replies that are not measurements
            Channel                 frames on stdin and stdout, time limits, killing
              command               the launcher's: python3 here, over ssh, by the user's command

    Args:
        name: The user's name for the device.
        launcher: Starts a python3 there.
        store: Its database shows to processes of other machines that the device is in use.
        notify: Called with a line for each wait.
        max_bytes: The largest network that is sent there, in bytes.

    Raises:
        DeviceError: The machine behind the launcher cannot be identified.
        StoreError: The database cannot be written.
    """
    claims: list[Claim] = [FileLock.of(launcher.key)]
    if store is not None and not store.db.is_read_only:  # its file is on this machine
        claims.append(Lease(store.db, launcher.key[:255]))
    if isinstance(launcher, LocalPython):
        claims.append(TrainingPause())
    return ReconnectingDevice(
        AgentDevice(name, launcher.command(agent.BOOTSTRAP)),
        Exclusive(name, tuple(claims), notify),
        launcher,
        notify,
        max_bytes,
    )


class LeaseRow(Base):
    """The holder of a device; times are seconds since 1970 by the database's clock."""

    __tablename__ = "nas_leases"

    device: Mapped[str] = mapped_column(String(255), primary_key=True)
    token: Mapped[str] = mapped_column(String(32))
    holder: Mapped[str] = mapped_column(String(200))
    process: Mapped[str] = mapped_column(String(200))
    taken_at: Mapped[float] = mapped_column(Float)
    ends_at: Mapped[float] = mapped_column(Float)


CLOCK_SLACK_S = 60.0
"""How far in the future the start of a lease may lie: a clock may be set back by so much."""


@dataclass(frozen=True)
class Lease:
    """The lease of one device.

    Attributes:
        db: The database that holds the table of leases.
        device: The key of the device.
        token: Distinguishes our lease from others'.
    """

    db: Database
    device: str
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        """Make the table.

        Raises:
            StoreError: The table cannot be made.
        """
        self.db.migrate()

    def take(self, longest_s: float) -> str | None:
        """Take the lease for at most `longest_s` seconds.

        Returns:
            None if the lease is ours now, else its holder in words.

        Raises:
            StoreError: The database cannot be written.
        """
        now = self._now()
        nonsense = LeaseRow.taken_at > now + CLOCK_SLACK_S
        columns = (
            LeaseRow.token,
            LeaseRow.holder,
            LeaseRow.process,
            or_(LeaseRow.ends_at < now, nonsense).label("over"),
        )
        ours = {
            "token": self.token,
            "holder": in_words()[:200],
            "process": (process_name() or "")[:200],
            "taken_at": now,
            "ends_at": now + longest_s,
        }
        with self.db.errors("the device cannot be leased"):
            try:
                with self.db.begin() as connection:
                    return self._taken(connection, ours, columns)
            except IntegrityError:  # another process was faster
                return "another process"

    def let_go(self) -> None:
        """Give the lease back; if that fails, it ends by itself and no measurement is lost."""
        ours = delete(LeaseRow).where(self._row(), LeaseRow.token == self.token)
        with contextlib.suppress(SQLAlchemyError, StoreError), self.db.begin() as connection:
            connection.execute(ours)

    def _taken(
        self, connection: Connection, ours: dict[str, Any], columns: tuple[Any, ...]
    ) -> str | None:
        found = connection.execute(select(*columns).where(self._row())).one_or_none()
        if found is None:
            connection.execute(insert(LeaseRow).values(device=self.device, **ours))
            return None
        if not found.over and is_alive(found.process) is not False:
            return str(found.holder)
        taken = update(LeaseRow).where(self._row(), LeaseRow.token == found.token)
        return None if connection.execute(taken.values(ours)).rowcount else found.holder

    def _row(self) -> Any:
        return LeaseRow.device == self.device

    def _now(self) -> Any:
        """Return the seconds since 1970 by the database's clock."""
        return extract("epoch", func.current_timestamp())
