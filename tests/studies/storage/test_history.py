import gc
from pathlib import Path

import pytest
from doubles import record_of

from nas_sv2.database.database import Database
from nas_sv2.errors import StoreError
from nas_sv2.search.session.samplers import SAMPLERS
from nas_sv2.studies.storage.history import read_history
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume

IDENTITY = {"targets": {"arm": "emulated"}}


@pytest.mark.parametrize("on", [True, False])
def test_it_reads_and_leaves_the_garbage_collector_as_it_was(tmp_path: Path, on: bool) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    db = Database.open(storage)
    study = create_or_resume(Database.open(storage), "s", IDENTITY, SAMPLERS["random"].make(0))
    store = RecordStore(db, "s")
    if not on:
        gc.disable()
    try:
        with pytest.raises(StoreError):  # its tables are not there yet
            read_history(study, store)
        assert gc.isenabled() == on
        db.migrate()
        RecordStore(db, "s").save(0, record_of(0.5, 1.0))
        read_history(study, store)
        assert (gc.isenabled(), store.known) == (on, 1)
    finally:
        gc.enable()
        db.close()
