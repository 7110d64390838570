"""Processes that share nothing but a new database make its tables once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.database.schema import VERSIONS

# Opens the database at a sign, as a search does, and says how that went.
OPENS = """
import sys
from nas_sv2.database.database import Database
from nas_sv2.errors import NasError
from nas_sv2.studies.storage.study import optuna_storage
print("ready", flush=True)
sys.stdin.readline()
db = Database.open(sys.argv[1])
try:
    optuna_storage(db)
    db.migrate()
except NasError as error:
    print(error)
else:
    print("made")
"""
PROCESSES = 3


@pytest.mark.slow
def test_several_that_begin_at_once_with_folders_of_their_own(
    storage: str, tmp_path: Path
) -> None:
    started = []
    for number in range(PROCESSES):
        own = tmp_path / str(number)
        own.mkdir()
        names = ("TMPDIR", "HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", OPENS, storage],
                env={**os.environ, **dict.fromkeys(names, str(own))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in started] == ["made\n"] * PROCESSES
    with Database.open(storage) as db, db.connect() as connection:
        for table, rows in (("alembic_version", 1), ("nas_schema_version", 1)):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == rows
        found = connection.execute(text("SELECT version_num FROM nas_schema_version")).scalar()
    assert found == VERSIONS[-1]
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".locks")]
