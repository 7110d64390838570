"""Records in the database of the study, saved before the sampler is told of them.

A crash between the two loses no work: the next run finds the record and tells it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, Select, String, Text, UniqueConstraint, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.evaluation import Evaluation
from nas_sv2.latency.schema import Base, migrate
from nas_sv2.latency.store import one_line
from nas_sv2.studies.record import Record


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


@dataclass(frozen=True)
class RecordStore:
    """The records of one study.

    Attributes:
        engine: As `nas_sv2.latency.store.open_engine` gives it.
        study: The key of the study (`study_key`), which no later study of its name has.
    """

    engine: Engine
    study: str

    @staticmethod
    def create_tables(engine: Engine) -> None:
        """Make the tables that are not there."""
        migrate(engine)

    def find(self, digest: str) -> tuple[int, Record] | None:
        """The trial and record of the architecture with this digest, or None."""
        with self._session("be read") as session:
            row = session.scalar(self._rows().where(RecordRow.architecture == digest))
            return None if row is None else (row.trial, Record.from_json(row.document))

    def all(self) -> dict[int, Record]:
        """Every record by its trial, in the order of the trials."""
        with self._session("be read") as session:
            rows = session.scalars(self._rows().order_by(RecordRow.trial)).all()
            return {row.trial: Record.from_json(row.document) for row in rows}

    def save(self, trial: int, record: Record) -> None:
        """Keep `record` as what `trial` found; takes the place of an earlier one."""
        digest = record.architecture.digest
        with self._session("be written") as session:
            row = session.scalar(self._rows().where(RecordRow.architecture == digest))
            if row is None:
                row = RecordRow(study=self.study, architecture=digest)
                session.add(row)
            row.trial, row.document = trial, record.to_json()

    def find_evaluation(
        self, digest: str, recipe: str, data: str, seed: int, device: str
    ) -> Evaluation | None:
        """The evaluation of that architecture that depended on the same, from any study."""
        query = select(EvaluationRow.document).where(
            EvaluationRow.architecture == digest,
            EvaluationRow.recipe == recipe,
            EvaluationRow.data == data,
            EvaluationRow.seed == seed,
            EvaluationRow.device == device,
        )
        with self._session("be read") as session:
            text = session.scalar(query)
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
        with self._session("be written") as session:
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

    def _rows(self) -> Select[RecordRow]:
        return select(RecordRow).where(RecordRow.study == self.study)

    @contextmanager
    def _session(self, what: str) -> Iterator[Session]:
        """A transaction whose database errors become a `StoreError`."""
        try:
            with Session(self.engine) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            raise StoreError(f"records cannot {what}: {one_line(error)}") from error
