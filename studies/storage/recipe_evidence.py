"""The evidence on a recipe in a database: its certificates, and its complete trainings.

The latest of several certificates with equal keys counts. Trainings come from all studies, and
from qualifications, whose certificates name the networks. The machine of a training does not
matter, as it changes only the last digits of a score.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import String, Text, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.errors import EvaluationError, StoreError
from nas_sv2.evaluate.fitting.evaluation import Evaluation, data_key
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.record_store import EvaluationRow, RecordRow, is_of_same_data

LOG = logging.getLogger(__name__)
Kind = TypeVar("Kind")
TrainedArchitecture = tuple[Architecture, Evaluation]


class CertificateRow(Base):
    """One qualification; `document` is `Certificate.to_json`."""

    __tablename__ = "nas_certificates"

    id: Mapped[int] = mapped_column(primary_key=True)
    recipe: Mapped[str] = mapped_column(String(64), index=True)
    data: Mapped[str] = mapped_column(String(512))
    space: Mapped[str] = mapped_column(String(64))
    document: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True)
class CertificateStore:
    """Finds and saves certificates."""

    db: Database

    def find(self, recipe_digest: str, data: str, space_digest: str = "") -> Certificate | None:
        """Return the latest certificate of a recipe on data, preferably of the space; or None.

        Data are compared by content, not by place.

        Raises:
            StoreError: The database cannot be read.
        """
        query = (
            select(CertificateRow)
            .where(
                CertificateRow.recipe == recipe_digest,
                is_of_same_data(CertificateRow.data, data),
            )
            .order_by((CertificateRow.space == space_digest).desc(), CertificateRow.id.desc())
            .limit(1)
        )
        with self.db.session("certificates cannot be read") as session:
            if not self.db.has_table(CertificateRow.__tablename__):
                return None  # an older database without certificates; reading adds no tables
            row = session.scalar(query)
            return None if row is None else Certificate.from_json(row.document)

    def find_for(
        self, identity: Mapping[str, Any], records: Mapping[int, Record]
    ) -> Certificate | None:
        """Return the certificate of the recipe and data of a study's records, or None.

        Raises:
            StoreError: The database cannot be read.
        """
        if not records:
            return None
        evaluation = next(iter(records.values())).evaluation
        space = identity.get("space_digest", "")
        return self.find(evaluation.recipe_digest, evaluation.data, space)

    def save(self, certificate: Certificate) -> None:
        """Store a certificate.

        Raises:
            StoreError: The database cannot be written.
        """
        row = CertificateRow(
            recipe=certificate.recipe_digest,
            data=certificate.data,
            space=certificate.space_digest,
            document=certificate.to_json(),
        )
        with self.db.session("certificates cannot be written") as session:
            session.add(row)


def whole_trainings(
    db: Database, recipe_digest: str, data: str, seed: int
) -> dict[str, TrainedArchitecture]:
    """Return networks and their trainings by the networks' digests, the first stored first.

    Data are compared by content, not by place. A damaged row, which may be of another study, is
    left out, and a line says so.

    Raises:
        StoreError: The database cannot be read.
    """
    with db.session("earlier trainings cannot be read") as session:
        studied = list(_of_studies(session, recipe_digest))
        qualified = list(_of_qualifications(session, recipe_digest))
    found: dict[str, TrainedArchitecture] = {}
    for architecture, evaluation in [*studied, *qualified]:
        same = (evaluation.recipe_digest, data_key(evaluation.data), evaluation.seed)
        whole = evaluation.stopped is None and len(evaluation.history) > 1
        if whole and same == (recipe_digest, data_key(data), seed):
            found.setdefault(architecture.digest, (architecture, evaluation))
    return found


def _of_studies(session: Session, recipe_digest: str) -> Iterable[TrainedArchitecture]:
    """Yield the trainings of every study that has used the recipe."""
    query = select(RecordRow.document).where(RecordRow.document.contains(recipe_digest))
    for record in _readable(Record.from_json, session.scalars(query.order_by(RecordRow.id))):
        yield record.architecture, record.evaluation


def _of_qualifications(session: Session, recipe_digest: str) -> Iterable[TrainedArchitecture]:
    """Yield the trainings of every network that a certificate names.

    Stored evaluations have only the digest of their network.
    """
    if not inspect(session.connection()).has_table(CertificateRow.__tablename__):
        return
    networks = {
        one.architecture.digest: one.architecture
        for certificate in _readable(
            Certificate.from_json, session.scalars(select(CertificateRow.document))
        )
        for one in certificate.networks
    }
    query = select(EvaluationRow.architecture, EvaluationRow.document).where(
        EvaluationRow.recipe == recipe_digest
    )
    for digest, text in session.execute(query.order_by(EvaluationRow.id)):
        if digest in networks:
            for evaluation in _readable(Evaluation.from_json, [text]):
                yield networks[digest], evaluation


def _readable(read: Callable[[str], Kind], texts: Iterable[str]) -> Iterator[Kind]:
    """Yield what can be read of stored texts; a line to the log names the others."""
    for text in texts:
        try:
            found = read(text)
        except (StoreError, EvaluationError) as error:
            LOG.warning("%s; it is left out of the earlier trainings", error)
            continue
        yield found
