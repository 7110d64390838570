"""Certificates in the database of the studies; of equal keys the latest counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.record_store import is_of_same_data


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
