"""Find all complete trainings in a database by one recipe, data set and seed.

They come from all studies, and from qualifications, whose certificates name the networks. The
machine of a training does not matter here, as it changes only the last digits of a score.
"""

from collections.abc import Iterable

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from nas_sv2.database.database import Database
from nas_sv2.evaluate.fitting.evaluation import Evaluation, data_key
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.certificate_store import CertificateRow
from nas_sv2.studies.storage.record_store import EvaluationRow, RecordRow

Trained = tuple[Architecture, Evaluation]


def whole_trainings(db: Database, recipe_digest: str, data: str, seed: int) -> dict[str, Trained]:
    """Return networks and their trainings by the networks' digests, the first stored first.

    Data are compared by content, not by place.

    Raises:
        StoreError: The database cannot be read.
    """
    with db.session("earlier trainings cannot be read") as session:
        studied = list(_of_studies(session, recipe_digest))
        qualified = list(_of_qualifications(session, recipe_digest))
    found: dict[str, Trained] = {}
    for architecture, evaluation in [*studied, *qualified]:
        same = (evaluation.recipe_digest, data_key(evaluation.data), evaluation.seed)
        whole = evaluation.stopped is None and len(evaluation.history) > 1
        if whole and same == (recipe_digest, data_key(data), seed):
            found.setdefault(architecture.digest, (architecture, evaluation))
    return found


def _of_studies(session: Session, recipe_digest: str) -> Iterable[Trained]:
    """Yield the trainings of every study that has used the recipe."""
    query = select(RecordRow.document).where(RecordRow.document.contains(recipe_digest))
    for text in session.scalars(query.order_by(RecordRow.id)):
        record = Record.from_json(text)
        yield record.architecture, record.evaluation


def _of_qualifications(session: Session, recipe_digest: str) -> Iterable[Trained]:
    """Yield the trainings of every network that a certificate names.

    Stored evaluations have only the digest of their network.
    """
    if not inspect(session.connection()).has_table(CertificateRow.__tablename__):
        return
    networks = {
        one.architecture.digest: one.architecture
        for text in session.scalars(select(CertificateRow.document))
        for one in Certificate.from_json(text).networks
    }
    query = select(EvaluationRow.architecture, EvaluationRow.document).where(
        EvaluationRow.recipe == recipe_digest
    )
    for digest, text in session.execute(query.order_by(EvaluationRow.id)):
        if digest in networks:
            yield networks[digest], Evaluation.from_json(text)
