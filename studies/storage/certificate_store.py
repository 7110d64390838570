"""Certificates in the database of the studies; of equals the latest counts."""

from dataclasses import dataclass

from sqlalchemy import Engine, String, Text, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from nas_sv2.database.engine import one_line
from nas_sv2.database.schema import Base, migrate
from nas_sv2.errors import StoreError
from nas_sv2.studies.findings.certificate import Certificate
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

    engine: Engine

    @staticmethod
    def create_tables(engine: Engine) -> None:
        """Make the table if it is not there."""
        migrate(engine)

    def find(self, recipe_digest: str, data: str, space_digest: str = "") -> Certificate | None:
        """The latest of that recipe on that data; one of that space, where there is one.

        Of `data` the content counts, and not where it lay.

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
        try:
            if not inspect(self.engine).has_table(CertificateRow.__tablename__):
                return None  # made before there were certificates; reading adds nothing
            with Session(self.engine) as session:
                row = session.scalar(query)
        except SQLAlchemyError as error:
            raise StoreError(f"certificates cannot be read: {one_line(error)}") from error
        return None if row is None else Certificate.from_json(row.document)

    def save(self, certificate: Certificate) -> None:
        """Keep `certificate`.

        Raises:
            StoreError: The database cannot be written.
        """
        row = CertificateRow(
            recipe=certificate.recipe_digest,
            data=certificate.data,
            space=certificate.space_digest,
            document=certificate.to_json(),
        )
        try:
            with Session(self.engine) as session, session.begin():
                session.add(row)
        except SQLAlchemyError as error:
            raise StoreError(f"certificates cannot be written: {one_line(error)}") from error
