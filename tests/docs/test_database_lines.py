"""The lines of the documentation that make, back up and restore databases do so."""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from doubles import record_of
from optuna.samplers import RandomSampler
from postgres import PASSWORD, Postgres, programs

from nas_sv2.database.database import Database
from nas_sv2.studies.storage.named_networks import records_of
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, study_key

IDENTITY = {"targets": {"t0": "measured"}, "space": "tiny", "seed": 0}
RECORD = record_of(0.5, 1.0)


def lines_of(page: str, *words: str) -> list[list[str]]:
    """Commands in the page's code that begin so, in its order, without `sudo`."""
    code = re.findall(r"^```sh\n(.*?)^```", Path("docs", page).read_text(), re.M | re.S)
    lines = [line.removeprefix("sudo -u postgres ") for line in "".join(code).splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(words)]


def tell_trial(storage: str) -> None:
    db = Database.open(storage)
    db.migrate()
    study = create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
    RecordStore(db, study_key(study)).save(0, RECORD)
    db.close()


@pytest.fixture
def server(postgres_server: Postgres) -> dict[str, str]:
    """What tells PostgreSQL's programs which server is meant, and as whom."""
    folder = programs()
    assert folder is not None
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgres_server.port),
        "PGUSER": "nas",
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": "postgres",
    }


def run(command: list[str], folder: Path, environment: Mapping[str, str], said: str = "") -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        input=said,
        text=True,
        capture_output=True,
        start_new_session=True,  # or a password is asked for at the terminal
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def test_a_server_is_backed_up_and_restored(
    postgres_server: Postgres, server: dict[str, str], tmp_path: Path
) -> None:
    create_user, create_database = lines_of("how-to/many-machines.md", "createuser", "createdb")
    run([*create_user[:-1], "another"], tmp_path, server, "secret\nsecret\n")
    run(create_database, tmp_path, server)
    tell_trial(postgres_server.url("studies"))
    lines = lines_of("reference/database.md", "pg_dump", "createdb", "pg_restore")
    assert [line[0] for line in lines] == ["pg_dump", "createdb", "pg_restore"]
    here = f"127.0.0.1:{postgres_server.port}"
    for line in lines:
        run([word.replace("db.local", here) for word in line], tmp_path, server)
    assert records_of(Database.open(postgres_server.url("restored")), "s") == {0: RECORD}


def test_a_file_is_copied_whole(tmp_path: Path) -> None:
    tell_trial(f"sqlite:///{tmp_path / 'nas-sv2.db'}")
    (line,) = lines_of("reference/database.md", "python3")
    assert shutil.which(line[0])
    run(line, tmp_path, os.environ)
    assert records_of(Database.open(f"sqlite:///{tmp_path / 'backup.db'}"), "s") == {0: RECORD}
    with sqlite3.connect(tmp_path / "backup.db") as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()
