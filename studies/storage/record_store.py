"""Records in the database of the study, saved before the sampler is told of them.

A crash between the two loses no work: the next run finds the record and tells it.
"""

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
    cast,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.evaluate.fitting.evaluation import Evaluation, content_of
from nas_sv2.studies.findings.record import Record

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
    """One training, for every study that would do the same; `document` is the evaluation's."""

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
    """What was read of a study: the highest id, trial and record by the network, and by trial."""

    last: int = 0
    found: dict[str, tuple[int, Record]] = field(default_factory=dict)
    in_order: dict[int, Record] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordStore:
    """The records of one study.

    Attributes:
        db: The database; a writer makes its tables first (`Database.migrate`).
        study: The key of the study (`study_key`), which no later study of its name has.
    """

    db: Database
    study: str
    _read: _Read = field(default_factory=_Read, init=False, repr=False, compare=False)

    def find(self, digest: str) -> tuple[int, Record] | None:
        """The trial and record of the architecture with this digest, or None."""
        query = self._rows().where(RecordRow.architecture == digest)
        with self._connection() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.trial, Record.from_json(row.document))

    def all(self) -> dict[int, Record]:
        """Every record by its trial, in the order of the trials.

        Read are those that are new or changed since the last time.
        """
        query = self._rows().where(RecordRow.id > self._read.last).order_by(RecordRow.id)
        with self._connection() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            found = row.trial, Record.from_json(row.document)
            self._read.last, self._read.found[row.architecture] = row.id, found
        if rows:
            self._read.in_order = dict(sorted(self._read.found.values(), key=itemgetter(0)))
        return dict(self._read.in_order)

    @property
    def known(self) -> int:
        """How many there were when `all` was last asked."""
        return len(self._read.in_order)

    def save(self, trial: int, record: Record, may: May = lambda connection: True) -> bool:
        """Keep `record` as what `trial` found; takes the place of an earlier one.

        A row that changes gets a new, higher id. Writers of a study take turns, so that whoever
        has seen an id has seen all below it.

        Args:
            trial: Its number.
            record: What was found.
            may: Asked in the same transaction; where it says no, nothing is kept.

        Returns:
            What `may` said.
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
        """The first evaluation of that architecture that depended on the same, from any study.

        Of `data` the content counts, and not where it lay.
        """
        query = select(EvaluationRow.document).where(
            EvaluationRow.architecture == digest,
            EvaluationRow.recipe == recipe,
            is_of_same_data(EvaluationRow.data, data),
            EvaluationRow.seed == seed,
            EvaluationRow.device == device,
        )
        with self._connection() as connection:
            text = connection.execute(query.order_by(EvaluationRow.id).limit(1)).scalar()
        return None if text is None else Evaluation.from_json(text)

    def save_evaluation(self, digest: str, evaluation: Evaluation) -> None:
        """Keep `evaluation` of the architecture with this digest; the first of equals stays."""
        known = self.find_evaluation(
            digest,
            evaluation.recipe_digest,
            evaluation.data,
            evaluation.seed,
            evaluation.device,
        )
        if known is not None:
            return
        with (
            self.db.errors("records cannot be written"),
            suppress(IntegrityError),  # another worker was faster
            Session(self.db.engine) as session,
            session.begin(),
        ):
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

    def _rows(self) -> Select[int, str, int, str]:
        columns = RecordRow.id, RecordRow.architecture, RecordRow.trial, RecordRow.document
        return select(*columns).where(RecordRow.study == self.study)

    @property
    def _next_id(self) -> ColumnElement[int]:
        """An id above all others, in SQL."""
        if self.db.is_sqlite:
            highest = select(func.coalesce(func.max(RecordRow.id), 0)).scalar_subquery()
            return highest + 1
        sequence = func.pg_get_serial_sequence(RecordRow.__tablename__, "id")
        return func.nextval(cast(sequence, postgresql.REGCLASS))

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self.db.errors("records cannot be read"), self.db.connect() as connection:
            yield connection


def is_of_same_data(column: InstrumentedAttribute[str], data: str) -> ColumnElement[bool]:
    """In SQL, whether a column holds `data`, `SPEC@KEY`, or its content under another spec."""
    return or_(column == data, column.endswith(f"@{content_of(data)}", autoescape=True))
