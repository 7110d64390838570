"""Leases of a study's running trials, so that workers of several machines share it.

A living worker counts up the `beats` of its lease. If the count does not change for long enough,
by the watcher's own monotonic clock, the watcher may take the lease over. Clocks of other machines
and jumps of a clock therefore do not matter.
"""

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    String,
    UniqueConstraint,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.processes import process_name
from nas_sv2.database.schema import Base
from nas_sv2.errors import StoreError
from nas_sv2.studies.findings.attributes import GIVEN_UP


class TrialLeaseRow(Base):
    """One worker's right to work on one trial; `trial` is None until the trial is known.

    In a study, no two workers have the same trial or the same network.
    """

    __tablename__ = "nas_trial_leases"
    __table_args__ = (
        UniqueConstraint("study", "trial"),
        UniqueConstraint("study", "architecture"),
    )

    token: Mapped[str] = mapped_column(String(32), primary_key=True)
    study: Mapped[str] = mapped_column(String(64))
    process: Mapped[str] = mapped_column(String(200))
    beats: Mapped[int]
    trial: Mapped[int | None]
    architecture: Mapped[str | None] = mapped_column(String(64))


@dataclass(frozen=True, slots=True)
class TrialLease:
    """A lease as it was read.

    Attributes:
        token: The key of the lease; it changes when the lease is taken over.
        process: The worker's process (`process_name`).
        beats: Number of renewals.
        trial: The number of the trial; None until it is known.
    """

    token: str
    process: str
    beats: int
    trial: int | None


class TakenTrial(Exception):
    """Another worker has the trial: SQLite lets two take one from Optuna's queue."""


class TakenNetwork(Exception):
    """Another worker is at the same network; the message names its trial."""


@dataclass(frozen=True)
class TrialLeases:
    """The leases of one study; every method raises StoreError if the database fails.

    Attributes:
        db: The database; its tables are made.
        study: The key of the study.
    """

    db: Database
    study: str

    def take(self, room: Callable[[int], bool], in_place_of: str | None = None) -> str | None:
        """Take a lease for a new trial if there is room beside the others; return its token.

        No other worker gets a lease between the count and the decision.

        Args:
            room: Returns whether there is room beside this number of leases.
            in_place_of: The token of a lease that is given back in any case.
        """
        with (
            self.db.errors("leases cannot be taken"),
            self.db.writing_alone(f"leases of {self.study}") as connection,
        ):
            if in_place_of is not None:
                old = delete(TrialLeaseRow).where(TrialLeaseRow.token == in_place_of)
                connection.execute(old)
            count = select(func.count()).where(TrialLeaseRow.study == self.study)
            others = connection.execute(count).scalar_one()
            if not room(others):
                return None
            token = uuid.uuid4().hex
            connection.execute(insert(TrialLeaseRow).values(token=token, **self._ours()))
            return token

    def bind(self, token: str, trial: int, architecture: str) -> bool:
        """Assign trial and network to the lease; return False if the lease is no longer ours.

        Raises:
            TakenTrial: Another worker has this trial.
            TakenNetwork: Another worker is at this network.
        """
        values = {"trial": trial, "architecture": architecture}
        ours = update(TrialLeaseRow).where(TrialLeaseRow.token == token)
        in_the_way = select(TrialLeaseRow.trial).where(
            TrialLeaseRow.study == self.study,
            TrialLeaseRow.token != token,
            or_(TrialLeaseRow.trial == trial, TrialLeaseRow.architecture == architecture),
        )
        rivals: list[int | None] = []
        with self.db.errors("leases cannot be written"):
            while not rivals:  # if none is found, the rival has just let go: try again
                try:
                    with self.db.begin() as connection:
                        return connection.execute(ours.values(values)).rowcount == 1
                except IntegrityError:
                    pass
                with self.db.begin() as connection:
                    rivals = list(connection.execute(in_the_way).scalars())
                    if trial in rivals:
                        raise TakenTrial
                    if rivals:
                        connection.execute(ours.values(trial=trial, architecture=None))
        raise TakenNetwork(f"{GIVEN_UP} {rivals[0]} is about")

    def renew(self, token: str) -> bool:
        """Show that the worker lives; return False if the lease is no longer ours."""
        ours = update(TrialLeaseRow).where(TrialLeaseRow.token == token)
        with self.db.errors("leases cannot be renewed"), self.db.begin() as connection:
            counted = ours.values(beats=TrialLeaseRow.beats + 1)
            return connection.execute(counted).rowcount == 1

    def is_held(self, connection: Connection, token: str) -> bool:
        """Return whether the lease is ours, and keep it until `connection`'s transaction ends."""
        ours = select(TrialLeaseRow.token).where(TrialLeaseRow.token == token).with_for_update()
        return connection.execute(ours).first() is not None

    def let_go(self, token: str) -> None:
        """Give the lease back; if that fails, it ends by itself."""
        ours = delete(TrialLeaseRow).where(TrialLeaseRow.token == token)
        with contextlib.suppress(SQLAlchemyError, StoreError), self.db.begin() as connection:
            connection.execute(ours)

    def all(self) -> list[TrialLease]:
        """Return every lease of the study."""
        query = select(TrialLeaseRow).where(TrialLeaseRow.study == self.study)
        with self.db.errors("leases cannot be read"), self.db.connect() as connection:
            rows = connection.execute(query)
            return [TrialLease(row.token, row.process, row.beats, row.trial) for row in rows]

    def take_over(self, lease: TrialLease) -> str | None:
        """Take over a dead worker's lease; None if the worker lives or another was faster."""
        token = uuid.uuid4().hex
        theirs = update(TrialLeaseRow).where(
            TrialLeaseRow.token == lease.token, TrialLeaseRow.beats == lease.beats
        )
        with self.db.errors("leases cannot be taken"), self.db.begin() as connection:
            changed = connection.execute(theirs.values(token=token, **self._ours())).rowcount
        return token if changed else None

    def take_for(self, trial: int) -> str | None:
        """Take a lease for a running trial that has none; None if another worker was faster."""
        token = uuid.uuid4().hex
        with self.db.errors("leases cannot be taken"):
            try:
                with self.db.begin() as connection:
                    values = {"token": token, "trial": trial, **self._ours()}
                    connection.execute(insert(TrialLeaseRow).values(values))
            except IntegrityError:
                return None
        return token

    def _ours(self) -> dict[str, object]:
        return {"study": self.study, "process": (process_name() or "")[:200], "beats": 0}
