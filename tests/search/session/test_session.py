"""What a search says when it begins."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.search.session.session import _is_alone
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.trial_lease import TrialLeases


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    db = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    db.migrate()
    yield RecordStore(db, "s")
    db.close()


def leased_by(store: RecordStore, process: str | None) -> None:
    """A lease of the study; of this process where none is named."""
    assert TrialLeases(store.db, store.study).take(lambda others: True)
    if process is not None:
        with store.db.begin() as connection:
            connection.execute(text("UPDATE nas_trial_leases SET process = :p"), {"p": process})


def test_nobody_else_is_at_the_study(store: RecordStore) -> None:
    said: list[str] = []
    assert _is_alone(store, 1, said.append)
    assert not _is_alone(store, 2, said.append)  # as was asked for: nothing to say
    assert said == []


@pytest.mark.parametrize(
    ("process", "who"),
    [
        (None, f"process {os.getpid()} on "),
        ("pi@5e9b:77:123", "process 77 on pi works at this study"),
    ],
    ids=["this process", "another machine's"],
)
def test_a_seed_that_cannot_repeat_is_said_in_a_line(
    store: RecordStore, process: str | None, who: str
) -> None:
    said: list[str] = []
    leased_by(store, process)
    assert not _is_alone(store, 1, said.append)
    (line,) = said
    assert who in line
    assert line.startswith("the seed will not repeat these candidates: ")
