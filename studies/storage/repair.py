"""Find and fail trials with values that Optuna cannot read.

A device's NaN once became a value of a trial. SQLite stores NaN as NULL, and Optuna then refuses
every read of the study, and every list of the studies. The tables are read by their columns here.
"""

from dataclasses import dataclass

from sqlalchemy import and_, column, delete, literal_column, or_, select, table, update

from nas_sv2.database.database import Database
from nas_sv2.studies.findings.attributes import IDENTITY, KEY
from nas_sv2.studies.storage.record_store import RecordRow
from nas_sv2.studies.storage.study import optuna_storage, store_errors

STUDIES = table("studies", column("study_id"), column("study_name"))
TRIALS = table("trials", *map(column, ("trial_id", "study_id", "number", "state")))
VALUES = table("trial_values", *map(column, ("trial_id", "value", "value_type")))
_IS_FINITE = VALUES.c.value_type == literal_column("'FINITE'")
_IS_NOT_READ = or_(
    and_(_IS_FINITE, VALUES.c.value.is_(None)),
    and_(_IS_FINITE, VALUES.c.value == literal_column("'NaN'")),  # as PostgreSQL stores it
    and_(~_IS_FINITE, VALUES.c.value.is_not(None)),
)


@dataclass(frozen=True, slots=True)
class DamagedTrial:
    """A trial with a value that is not a number.

    Attributes:
        study: The name of its study.
        number: Its number there.
    """

    study: str
    number: int


def find_damaged(db: Database) -> list[DamagedTrial]:
    """Find the trials with values that are not numbers.

    Raises:
        ConfigError: The database does not exist.
        StoreError: It cannot be read.
    """
    return [DamagedTrial(name, number) for name, number, _, _ in _rows(db)]


def fail_damaged(db: Database) -> list[DamagedTrial]:
    """Set the trials that `find_damaged` finds to failed; their values and records are removed.

    The next search may ask their networks again. Its trainings are kept.

    Raises:
        ConfigError: The database does not exist.
        StoreError: It cannot be read or written.
    """
    db.require_writable()
    storage, rows = optuna_storage(db), _rows(db)
    with store_errors():
        attributes = {study: storage.get_study_user_attrs(study) for _, _, study, _ in rows}
    has_records = db.has_table(RecordRow.__tablename__)
    with db.errors("trials cannot be repaired"), db.writing_alone("repair") as connection:
        for _, number, study, trial in rows:
            failed = update(TRIALS).where(TRIALS.c.trial_id == trial)
            connection.execute(failed.values(state=literal_column("'FAIL'")))
            connection.execute(delete(VALUES).where(VALUES.c.trial_id == trial))
            if has_records:
                key = attributes[study].get(IDENTITY, {}).get(KEY, "")
                of_trial = RecordRow.study == key, RecordRow.trial == number
                connection.execute(delete(RecordRow).where(*of_trial))
    return [DamagedTrial(name, number) for name, number, _, _ in rows]


def _rows(db: Database) -> list[tuple[str, int, int, int]]:
    """Return name of the study, number of the trial, and both ids, of each damaged trial."""
    db.require()
    query = (
        select(STUDIES.c.study_name, TRIALS.c.number, STUDIES.c.study_id, TRIALS.c.trial_id)
        .join_from(VALUES, TRIALS, VALUES.c.trial_id == TRIALS.c.trial_id)
        .join(STUDIES, TRIALS.c.study_id == STUDIES.c.study_id)
        .where(_IS_NOT_READ)
        .distinct()
        .order_by(STUDIES.c.study_id, TRIALS.c.number)
    )
    if not db.has_table(VALUES.name):
        return []
    with db.errors("trials cannot be read"), db.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]
