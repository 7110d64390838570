"""Our tables: made once, adopted, migrated, and refused where they are a newer program's."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgres import PASSWORD, Postgres
from running import running
from sqlalchemy import create_engine, event, inspect, text

import nas_sv2.latency.devices.open_device
import nas_sv2.latency.guidelines.store
import nas_sv2.latency.predictor.predicted_target
import nas_sv2.studies.storage.recipe_evidence
import nas_sv2.studies.storage.record_store
import nas_sv2.studies.storage.trial_lease  # noqa: F401  all tables are known
from nas_sv2.database.database import Database
from nas_sv2.database.schema import VERSION_TABLE, VERSIONS, Base
from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.studies.storage.study import load_study, optuna_storage

ROOT = Path(__file__).parents[3]

# As the program before there were versions made them, letter by letter.
OLD_TABLES = """
CREATE TABLE nas_measurements (
    id INTEGER NOT NULL, architecture VARCHAR(64) NOT NULL, fingerprint_key VARCHAR(64) NOT NULL,
    plan_key VARCHAR(64) NOT NULL, measured_at VARCHAR(40) NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (id));
CREATE INDEX nas_measurements_key ON nas_measurements (architecture, fingerprint_key, plan_key);
CREATE TABLE nas_grades (
    id INTEGER NOT NULL, fingerprint_key VARCHAR(64) NOT NULL, plan_key VARCHAR(64) NOT NULL,
    graded_at VARCHAR(40) NOT NULL, document TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX nas_grades_key ON nas_grades (fingerprint_key, plan_key);
CREATE TABLE nas_leases (
    device VARCHAR(255) NOT NULL, token VARCHAR(32) NOT NULL, holder VARCHAR(200) NOT NULL,
    process VARCHAR(200) NOT NULL, taken_at FLOAT NOT NULL, ends_at FLOAT NOT NULL,
    PRIMARY KEY (device));
CREATE TABLE nas_records (
    id INTEGER NOT NULL, study VARCHAR(64) NOT NULL, architecture VARCHAR(64) NOT NULL,
    trial INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (id),
    UNIQUE (study, architecture), UNIQUE (study, trial));
CREATE TABLE nas_evaluations (
    id INTEGER NOT NULL, architecture VARCHAR(64) NOT NULL, recipe VARCHAR(64) NOT NULL,
    data VARCHAR(512) NOT NULL, seed INTEGER NOT NULL, device VARCHAR(128) NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (id),
    UNIQUE (architecture, recipe, data, seed, device));
INSERT INTO nas_measurements VALUES (7, 'a', 'f', 'p', 'then', '{}');
INSERT INTO nas_grades VALUES (3, 'f', 'p', 'then', '{}');
INSERT INTO nas_leases VALUES ('d', 't', 'h', 'elsewhere:1:1', 1.5, 2.5);
INSERT INTO nas_records VALUES (11, 's', 'a', 4, '{"r": 1}');
INSERT INTO nas_evaluations VALUES (5, 'a', 'r', 'x@y', 0, 'cpu, 2 threads', '{"e": 1}');
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
def adopted(tmp_path: Path) -> Iterator[str]:
    """A database from before there were versions, with a row in each table."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in OLD_TABLES.strip().removesuffix(";").split(";\n"):
            connection.execute(text(statement))
    engine.dispose()
    yield url


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        names = [name for name in inspect(connection).get_table_names() if "nas_" in name]
        found = {
            name: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {name}"))]
            for name in names
        }
    engine.dispose()
    return found


def test_the_migrated_tables_are_those_of_the_models(url: str) -> None:
    db = Database.open(url)
    db.migrate()
    with db.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []


def test_the_program_knows_its_migrations() -> None:
    script = ScriptDirectory(str(ROOT / "nas_sv2" / "database" / "migrations"))
    revisions = [revision.revision for revision in script.walk_revisions()]
    assert tuple(reversed(revisions)) == VERSIONS


def test_a_database_from_before_versions_is_adopted_and_nothing_is_lost(adopted: str) -> None:
    before = rows(adopted)
    assert all(before.values())
    db = Database.open(adopted)
    db.migrate()
    db.migrate()
    with db.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    after = rows(adopted)
    assert {name: after[name] for name in before} == before
    assert after[VERSION_TABLE] == [(VERSIONS[-1],)]


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    adopted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(adopted)
    db = Database.open(adopted)

    def full(_: object, __: object, statement: str, *rest: object) -> None:
        if "CREATE TABLE nas_trial_leases" in statement:
            raise KeyboardInterrupt

    event.listen(db.engine, "before_cursor_execute", full)
    with pytest.raises(KeyboardInterrupt):
        db.migrate()
    assert rows(adopted) == before
    event.remove(db.engine, "before_cursor_execute", full)
    db.migrate()
    assert rows(adopted)[VERSION_TABLE] == [(VERSIONS[-1],)]


def test_a_newer_schema_is_refused_by_who_writes_and_who_reads(url: str) -> None:
    MeasurementStore(Database.open(url))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0099'"))
    engine.dispose()
    opens: tuple[Callable[[Database], object], ...] = (
        MeasurementStore,
        lambda db: db.engine,
        lambda db: load_study(db, "s"),
    )
    for each in opens:
        with pytest.raises(StoreError, match="schema 0099, made by a newer nas-sv2") as caught:
            each(Database.open(url))
        assert "\n" not in str(caught.value)


STARTERS = """
import os, sys
from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.studies.storage.study import optuna_storage
for line in sys.stdin:
    gate, opener = os.pipe()
    started = []
    for _ in range(4):
        started.append(os.fork())
        if started[-1] == 0:
            os.read(gate, 1)
            with Database.open(line.strip()) as db:
                MeasurementStore(db)
                optuna_storage(db)
            sys.exit()
    os.write(opener, bytes(len(started)))
    print([os.waitpid(each, 0)[1] for each in started], flush=True)
"""


@pytest.fixture(scope="module")
def starters() -> Iterator[subprocess.Popen[str]]:
    """They are forked where all is loaded, of numpy one thread."""
    with running(
        [sys.executable, "-c", STARTERS],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process


def test_processes_that_start_at_once_make_the_tables_once(
    url: str, starters: subprocess.Popen[str]
) -> None:
    assert starters.stdin is not None and starters.stdout is not None
    print(url, file=starters.stdin, flush=True)
    assert starters.stdout.readline() == "[0, 0, 0, 0]\n"
    assert rows(url)[VERSION_TABLE] == [(VERSIONS[-1],)]


# Passwords


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:s3cret@127.0.0.1:1/name",
        "postgresql+psycopg://me@127.0.0.1:1/name?password=s3cret",
        "postgresql+psycopg://me:x@s3cret@127.0.0.1:1/name",
        "postgresql+psycopg://me:s3cret@127.0.0.1:port/name",
        "postgresql//me:s3cret@127.0.0.1/name",
        "mysql://me:s3cret@127.0.0.1/name",
        "nosql://me:s3cret@127.0.0.1/name",
    ],
)
def test_no_error_shows_a_password(url: str) -> None:
    opens: tuple[Callable[[Database], object], ...] = (
        lambda db: db.engine,
        optuna_storage,
        lambda db: load_study(db, "s"),
    )
    for each in opens:
        with pytest.raises(ConfigError) as caught:
            each(Database.open(url))
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_wrong_password_is_said_without_it(postgres_server: Postgres) -> None:
    url = postgres_server.url("postgres").replace("s3cret", "wr0ng")
    with pytest.raises(ConfigError, match="authentication failed") as caught:
        assert Database.open(url).engine
    assert "wr0ng" not in str(caught.value)


def test_a_password_of_odd_signs_opens_both_sets_of_tables_and_is_not_stored(
    postgres_server: Postgres,
) -> None:
    url = postgres_server.database()
    MeasurementStore(Database.open(url))
    optuna_storage(Database.open(url))
    with pytest.raises(NasError) as caught:
        load_study(Database.open(url), "none")
    assert PASSWORD[:6] not in str(caught.value)
    assert PASSWORD[:6] not in str(rows(url))
