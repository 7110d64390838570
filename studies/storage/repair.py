"""Find and repair what a device's NaN once damaged: trials and measurements.

SQLite stores the NaN of a trial as NULL. Optuna then refuses every read of the study, and every
list of the studies. Its tables are therefore read by their columns here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, column, delete, literal_column, or_, select, table, update

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.measurement_check import OtherSchema, read_measurement
from nas_sv2.latency.measurements.store import ROWS_AT_ONCE, MeasurementRow
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


@dataclass(frozen=True, slots=True)
class Damage:
    """The damaged rows of a database.

    Attributes:
        trials: Trials with values that are not numbers.
        measurements: Ids of measurements with values that no device can have.
    """

    trials: Sequence[DamagedTrial]
    measurements: Sequence[int]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.trials or self.measurements)


def find_damage(db: Database) -> Damage:
    """Find trials with values that are not numbers, and measurements that cannot be read.

    Measurements of another version of nas-sv2 count as readable.

    Raises:
        ConfigError: The database does not exist.
        StoreError: It cannot be read.
    """
    db.require()
    trials = [DamagedTrial(name, number) for name, number, _, _ in _rows(db)]
    return Damage(trials, list(_damaged_measurements(db)))


def repair(db: Database) -> Damage:
    """Fail the trials that `find_damage` finds, and remove the measurements.

    The values and records of the trials are removed. The next search may ask their networks
    again, and its trainings are kept.

    Raises:
        ConfigError: The database does not exist.
        StoreError: It cannot be read or written.
    """
    db.require_writable()
    found, rows, storage = find_damage(db), _rows(db), optuna_storage(db)
    with store_errors():
        attributes = {study: storage.get_study_user_attrs(study) for _, _, study, _ in rows}
    has_records = db.has_table(RecordRow.__tablename__)
    with db.errors("the database cannot be repaired"), db.writing_alone("repair") as connection:
        for _, number, study, trial in rows:
            failed = update(TRIALS).where(TRIALS.c.trial_id == trial)
            connection.execute(failed.values(state=literal_column("'FAIL'")))
            connection.execute(delete(VALUES).where(VALUES.c.trial_id == trial))
            if has_records:
                key = attributes[study].get(IDENTITY, {}).get(KEY, "")
                of_trial = RecordRow.study == key, RecordRow.trial == number
                connection.execute(delete(RecordRow).where(*of_trial))
        for measurement in found.measurements:
            connection.execute(delete(MeasurementRow).where(MeasurementRow.id == measurement))
    return found


def _damaged_measurements(db: Database) -> Iterator[int]:
    if not db.has_table(MeasurementRow.__tablename__):
        return
    query = select(MeasurementRow.id, MeasurementRow.document).order_by(MeasurementRow.id)
    with db.session("measurements cannot be read") as session:
        rows = session.execute(query.execution_options(yield_per=ROWS_AT_ONCE))
        for number, document in rows:
            try:
                read_measurement(document)
            except OtherSchema:
                continue
            except ValueError:
                yield number


def _rows(db: Database) -> list[tuple[str, int, int, int]]:
    """Return name of the study, number of the trial, and both ids, of each damaged trial."""
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
