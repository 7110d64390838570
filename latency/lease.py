"""A lease of a device in the database, so that processes of several machines take turns.

Time is the database's. A lease ends by itself; that of a process of this host that died can be
taken at once, and so can one that was taken in the future, which is what a clock that was set back
leaves.
"""

import contextlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Float,
    MetaData,
    String,
    Table,
    delete,
    extract,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from nas_sv2.errors import StoreError
from nas_sv2.latency.processes import in_words, is_alive, process_name
from nas_sv2.latency.store import create_tables, one_line

METADATA = MetaData()
LEASES = Table(
    "nas_leases",
    METADATA,
    Column("device", String(255), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("holder", String(200), nullable=False),
    Column("process", String(200), nullable=False),
    Column("taken_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
)
CLOCK_SLACK_S = 60.0
"""By how much a database's clock may be set back without a lease being taken for nonsense."""


@dataclass(frozen=True)
class Lease:
    """The lease of one device.

    Attributes:
        engine: The database; the table is made there.
        device: The key of the device.
        token: Tells our lease from others'.
    """

    engine: Engine
    device: str
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        """Make the table.

        Raises:
            StoreError: It cannot be made.
        """
        create_tables(self.engine, METADATA)

    def take(self, longest_s: float) -> str | None:
        """Take it for at most `longest_s`; None if it is ours now, else who has it.

        Raises:
            StoreError: The database cannot be written.
        """
        now = self._now()
        nonsense = LEASES.c.taken_at > now + CLOCK_SLACK_S
        columns = (
            LEASES.c.token,
            LEASES.c.holder,
            LEASES.c.process,
            or_(LEASES.c.ends_at < now, nonsense).label("over"),
        )
        ours = {
            "token": self.token,
            "holder": in_words()[:200],
            "process": (process_name() or "")[:200],
            "taken_at": now,
            "ends_at": now + longest_s,
        }
        try:
            with self.engine.begin() as connection:
                found = connection.execute(select(*columns).where(self._row())).one_or_none()
                if found is None:
                    connection.execute(insert(LEASES).values(device=self.device, **ours))
                    return None
                if not found.over and is_alive(found.process) is not False:
                    return str(found.holder)
                taken = update(LEASES).where(self._row(), LEASES.c.token == found.token)
                return None if connection.execute(taken.values(ours)).rowcount else found.holder
        except IntegrityError:  # somebody was faster
            return "another process"
        except SQLAlchemyError as error:
            raise StoreError(f"the device cannot be leased: {one_line(error)}") from error

    def let_go(self) -> None:
        """Give it back; where that fails it ends by itself, and no measurement is lost for it."""
        ours = delete(LEASES).where(self._row(), LEASES.c.token == self.token)
        with contextlib.suppress(SQLAlchemyError), self.engine.begin() as connection:
            connection.execute(ours)

    def _row(self) -> Any:
        return LEASES.c.device == self.device

    def _now(self) -> Any:
        """Seconds since 1970 by the database's clock."""
        if self.engine.dialect.name in ("mysql", "mariadb"):
            return func.unix_timestamp()
        return extract("epoch", func.current_timestamp())
