"""A study that is renamed or deleted while a search is at it, and a database that is."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import optuna
import pytest
from doubles import EventRecorder, FakeTarget, evaluation_of, small_space
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import DatabaseGone
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.search.events.events import Notice
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.walk.audit import RelaxedLimits
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.named_networks import records_of
from nas_sv2.studies.storage.ownership import StudyGone
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, load_study, optuna_storage, study_key
from nas_sv2.studies.storage.trial_lease import TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

IDENTITY = {"targets": {"fake": "measured"}}


@dataclass
class Disturbed:
    """An evaluator during whose second training something happens to the study."""

    name: ClassVar[str] = "disturbed"

    happens: Callable[[], None]
    asked: list[str] = field(default_factory=list)

    def evaluate(self, architecture: Architecture) -> Evaluation:
        self.asked.append(architecture.digest)
        if len(self.asked) == 2:
            self.happens()
        return evaluation_of(0.5)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(f"sqlite:///{tmp_path / 'studies.db'}") as db:
        db.migrate()
        yield db


def opened(
    db: Database, evaluator: Disturbed, heard: EventRecorder, expires_s: float = 60
) -> Loop:
    study = create_or_resume(db, "s", IDENTITY, RandomSampler(seed=0))
    limits = RelaxedLimits(Guidelines({}), study)
    walk = Walk(limits, Budget(), {"fake": FakeTarget()}, evaluator)
    store = RecordStore(db, study_key(study))
    weights = WeightsFolder.of_study(db, store.study)
    return Loop(
        study, small_space(), walk, store, weights, True, heard, limits=limits, expires_s=expires_s
    )


def rename(db: Database) -> None:
    """Rename as Optuna's dashboard does: copy, then delete."""
    storage = optuna_storage(db)
    optuna.copy_study(
        from_study_name="s", from_storage=storage, to_storage=storage, to_study_name="renamed"
    )
    optuna.delete_study(study_name="s", storage=storage)


def delete(db: Database) -> None:
    optuna.delete_study(study_name="s", storage=optuna_storage(db))


def test_the_search_goes_on_under_the_new_name(db: Database) -> None:
    heard = EventRecorder()
    evaluator = Disturbed(lambda: rename(db))
    loop = opened(db, evaluator, heard)
    loop.run(4)
    assert loop.study_name == "renamed"
    assert any(isinstance(e, Notice) and "renamed now" in e.reason for e in heard.events)
    records = records_of(db, "renamed")
    trials = load_study(db, "renamed").get_trials()
    assert len(records) == 4
    for number, record in records.items():
        assert trials[number].user_attrs["architecture"] == record.architecture.digest
        assert trials[number].values == list(record.sampler_objectives)
    assert len(evaluator.asked) <= 5  # the training under way is not lost, or repeated once
    assert TrialLeases(db, loop.store.study).all() == []


def test_a_name_that_was_changed_in_place_is_followed(db: Database) -> None:
    def happens() -> None:
        with db.begin() as connection:
            connection.exec_driver_sql("UPDATE studies SET study_name = 'renamed'")

    loop = opened(db, Disturbed(happens), EventRecorder())
    loop.run(4)
    assert loop.study_name == "renamed"
    assert len(records_of(db, "renamed")) == 4


def test_a_deleted_study_ends_the_search_in_one_line(db: Database) -> None:
    evaluator = Disturbed(lambda: delete(db))
    loop = opened(db, evaluator, EventRecorder())
    with pytest.raises(StudyGone, match="study s was deleted"):
        loop.run(4)
    assert len(evaluator.asked) == 2
    assert TrialLeases(db, loop.store.study).all() == []
    assert StudyGone("s").exit_code == 2


def test_the_thread_that_renews_notices_a_deletion_during_a_training(db: Database) -> None:
    def happens() -> None:
        delete(db)
        ends = time.monotonic() + 20
        while not loop.gone.is_set():
            assert time.monotonic() < ends
            time.sleep(0.01)

    loop = opened(db, Disturbed(happens), EventRecorder(), expires_s=0.6)
    with pytest.raises(StudyGone):
        loop.run(4)
    assert loop.gone.is_set()


def file_of(db: Database) -> Path:
    assert db.file is not None
    return db.file


def replace(db: Database) -> None:
    other = Database.open(f"{file_of(db).with_name('other.db')}")
    other.migrate()
    other.close()
    file_of(other).replace(file_of(db))


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda db: file_of(db).unlink(), "deleted or moved"),
        (lambda db: file_of(db).rename(file_of(db).with_name("moved.db")), "deleted or moved"),
        (replace, "replaced by another file"),
    ],
    ids=["deleted", "moved", "replaced"],
)
def test_a_database_that_goes_away_ends_the_search_at_the_next_trial(
    db: Database, happens: Callable[[Database], None], said: str
) -> None:
    evaluator = Disturbed(lambda: happens(db))
    with pytest.raises(DatabaseGone, match=said) as caught:
        opened(db, evaluator, EventRecorder()).run(6)
    assert len(evaluator.asked) == 2
    assert caught.value.exit_code == 2
    assert file_of(db).exists() == (said != "deleted or moved")


def test_the_thread_that_renews_notices_a_deleted_database_during_a_training(
    db: Database,
) -> None:
    def happens() -> None:
        file_of(db).unlink()
        ends = time.monotonic() + 20
        while not loop.gone.is_set():
            assert time.monotonic() < ends
            time.sleep(0.01)

    loop = opened(db, Disturbed(happens), EventRecorder(), expires_s=0.6)
    with pytest.raises(DatabaseGone):
        loop.run(4)


def test_a_bug_stays_a_bug(db: Database) -> None:
    def happens() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        opened(db, Disturbed(happens), EventRecorder()).run(4)
