"""A search opens one engine, whatever it reads and writes."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from doubles import FakeEvaluator
from optuna.storages import RDBStorage
from sqlalchemy.engine import create

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.search.session import session
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.session.session import search
from nas_sv2.studies.storage.named_networks import records_of
from nas_sv2.studies.storage.recipe_evidence import CertificateStore
from nas_sv2.studies.storage.study import load_study, optuna_storage


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs of all engines that are made from now on."""
    made: list[str] = []
    original = create.create_engine

    def counted(url: Any, **options: Any) -> Any:
        made.append(str(url))
        return original(url, **options)

    monkeypatch.setattr("nas_sv2.database.database.create_engine", counted)
    monkeypatch.setattr(sqlalchemy.engine, "create_engine", counted)
    return made


def test_a_search_and_what_is_said_of_it_make_one_engine(
    storage: str, engines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "StoredEvaluator", lambda *_: FakeEvaluator())
    before = len(engines)  # that of the test's own server
    plan = plan_search(
        "arm", ["40M"], recipe="smoke", sampler="random", trials=1, study="s", storage=storage
    )
    with Database.open(storage) as db:
        found = search(plan, db)
        assert found.ended_by is None
        assert records_of(db, "s").keys() == found.records.keys()
        CertificateStore(db).find_for({}, found.records)
        MeasurementStore(db)
    assert len(engines) - before == 1


def test_a_study_is_read_by_the_engine_that_measured_before(
    storage: str, engines: list[str]
) -> None:
    """Optuna makes an engine of its own: it takes the place of ours, which lets go."""
    with Database.open(storage) as db:
        store = MeasurementStore(db)
        first = db.engine
        backend = optuna_storage(db)
        assert isinstance(backend, RDBStorage)
        assert first.pool.checkedin() == 0  # type: ignore[attr-defined]
        assert store.db.engine.pool is backend.engine.pool
        assert optuna_storage(db) is backend
        with pytest.raises(Exception, match="there is none yet"):
            load_study(db, "none")
