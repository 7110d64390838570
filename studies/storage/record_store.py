"""Records in the database of the study, saved before the sampler learns of them.

A crash between the two steps loses no work: the next run finds the record and gives it to the
sampler.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    Text,
    UniqueConstraint,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.errors import EvaluationError, StoreError
from nas_sv2.evaluate.fitting.evaluation import Evaluation, data_key
from nas_sv2.studies.findings.record import Record

LOG = logging.getLogger(__name__)
May = Callable[[Connection], bool]


class RecordRow(Base):
    """One candidate of one study; `document` is `Record.to_json`."""

    __tablename__ = "nas_records"
    __table_args__ = (
        UniqueConstraint("study", "architecture"),
        UniqueConstraint("study", "trial"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(64))
    architecture: Mapped[str] = mapped_column(String(64))
    trial: Mapped[int]
    document: Mapped[str] = mapped_column(Text)


class EvaluationRow(Base):
    """One training, shared by all studies; `document` is `Evaluation.to_json`."""

    __tablename__ = "nas_evaluations"
    __table_args__ = (UniqueConstraint("architecture", "recipe", "data", "seed", "device"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    architecture: Mapped[str] = mapped_column(String(64))
    recipe: Mapped[str] = mapped_column(String(64))
    data: Mapped[str] = mapped_column(String(512))
    seed: Mapped[int]
    device: Mapped[str] = mapped_column(String(128))
    document: Mapped[str] = mapped_column(Text)


@dataclass
class _Read:
    """The rows read so far: the highest id, records by network and records by trial."""

    last: int = 0
    found: dict[str, tuple[int, Record]] = field(default_factory=dict)
    in_order: dict[int, Record] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordStore:
    """The records of one study.

    Attributes:
        db: The database; a writer makes its tables first (`Database.migrate`).
        study: The key of the study (`study_key`); a later study of its name has another.
    """

    db: Database
    study: str
    _read: _Read = field(default_factory=_Read, init=False, repr=False, compare=False)

    def find(self, digest: str) -> tuple[int, Record] | None:
        """Return the trial and record of the architecture with this digest, or None.

        A damaged record counts as none, and a line says so.
        """
        query = self._rows().where(RecordRow.architecture == digest)
        with self._connection() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._readable(row.trial, row.document)

    def all(self) -> dict[int, Record]:
        """Return every record by its trial, in the order of the trials.

        Only records that are new or changed since the last call are read.
        """
        query = self._rows().where(RecordRow.id > self._read.last).order_by(RecordRow.id)
        with self._connection() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            self._read.last = row.id
            if found := self._readable(row.trial, row.document):
                self._read.found[row.architecture] = found
        if rows:
            self._read.in_order = dict(sorted(self._read.found.values(), key=itemgetter(0)))
        return dict(self._read.in_order)

    def reread(self) -> None:
        """Read all records again at the next call of `all`."""
        self._read.last, self._read.found, self._read.in_order = 0, {}, {}

    @property
    def known(self) -> int:
        """The number of records at the last call of `all`."""
        return len(self._read.in_order)

    def save(self, trial: int, record: Record, may: May = lambda connection: True) -> bool:
        """Store the record of a trial, in place of an earlier record of its network.

        A row that changes gets a new, higher id. Writers of a study take turns, so that a reader
        who has seen an id has seen all ids below it.

        Args:
            trial: The number of the trial.
            record: The record.
            may: Called in the same transaction; if it returns False, nothing is stored.

        Returns:
            The value of `may`.
        """
        digest = record.architecture.digest
        insert = sqlite.insert if self.db.is_sqlite else postgresql.insert
        latest = {"id": self._next_id, "trial": trial, "document": record.to_json()}
        row = insert(RecordRow).values(study=self.study, architecture=digest, **latest)
        keep = row.on_conflict_do_update(
            index_elements=[RecordRow.study, RecordRow.architecture],
            set_={name: row.excluded[name] for name in latest},
        )
        with (
            self.db.errors("records cannot be written"),
            self.db.writing_alone(f"records of {self.study}") as connection,
        ):
            allowed = may(connection)
            if allowed:
                connection.execute(keep)
        return allowed

    def find_evaluation(
        self, digest: str, recipe: str, data: str, seed: int, device: str
    ) -> Evaluation | None:
        """Return the first evaluation with these settings from any study, or None.

        Data are compared by content, not by place. A damaged evaluation counts as none, and a line
        says so.
        """
        equal = _of_settings(digest, recipe, data, seed, device)
        query = select(EvaluationRow.document).where(equal).order_by(EvaluationRow.id)
        with self._connection() as connection:
            text = connection.execute(query.limit(1)).scalar()
        try:
            return None if text is None else Evaluation.from_json(text)
        except EvaluationError as error:
            LOG.warning("%s; network %.8s is trained again by recipe %s", error, digest, recipe)
            return None

    def save_evaluation(self, digest: str, evaluation: Evaluation) -> None:
        """Store the evaluation of an architecture, unless one with equal settings is stored.

        It takes the place of damaged ones.
        """
        settings = (
            *(digest, evaluation.recipe_digest, evaluation.data),
            *(evaluation.seed, evaluation.device),
        )
        if self.find_evaluation(*settings) is not None:
            return
        with (
            self.db.errors("records cannot be written"),
            suppress(IntegrityError),  # another worker was faster
            Session(self.db.engine) as session,
            session.begin(),
        ):
            session.execute(delete(EvaluationRow).where(_of_settings(*settings)))
            session.add(
                EvaluationRow(
                    architecture=digest,
                    recipe=evaluation.recipe_digest,
                    data=evaluation.data,
                    seed=evaluation.seed,
                    device=evaluation.device,
                    document=evaluation.to_json(),
                )
            )

    def _readable(self, trial: object, document: str) -> tuple[int, Record] | None:
        """Read a row; None, and a line to the log, if it is damaged or was made up."""
        try:
            if not isinstance(trial, int):
                raise StoreError("its trial is not a number")
            return trial, Record.from_json(document)
        except StoreError as error:
            line = "%s of trial %.20r of study %s is left out"
            LOG.warning(line, error, trial, self.study)
            return None

    def _rows(self) -> Select[int, str, int, str]:
        columns = RecordRow.id, RecordRow.architecture, RecordRow.trial, RecordRow.document
        return select(*columns).where(RecordRow.study == self.study)

    @property
    def _next_id(self) -> ColumnElement[int]:
        """An SQL expression for an id above all others."""
        if self.db.is_sqlite:
            highest = select(func.coalesce(func.max(RecordRow.id), 0)).scalar_subquery()
            return highest + 1
        sequence = func.pg_get_serial_sequence(RecordRow.__tablename__, "id")
        return func.nextval(cast(sequence, postgresql.REGCLASS))

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self.db.errors("records cannot be read"), self.db.connect() as connection:
            yield connection


def _of_settings(
    digest: str, recipe: str, data: str, seed: int, device: str
) -> ColumnElement[bool]:
    """Return the SQL condition for the evaluations of a network with equal settings."""
    return and_(
        EvaluationRow.architecture == digest,
        EvaluationRow.recipe == recipe,
        is_of_same_data(EvaluationRow.data, data),
        EvaluationRow.seed == seed,
        EvaluationRow.device == device,
    )


def is_of_same_data(column: InstrumentedAttribute[str], data: str) -> ColumnElement[bool]:
    """Return the SQL condition that a column holds `data` (`SPEC@KEY`), whatever its spec."""
    return or_(column == data, column.endswith(f"@{data_key(data)}", autoescape=True))
