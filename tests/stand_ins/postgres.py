"""A PostgreSQL server of the tests' own: on a loopback port, as an unprivileged user."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, create_engine, text

PASSWORD = "s3cret@%{x}/:"
"""Of every sign that a URL or a template could stumble over."""


@cache
def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; Debian keeps it off the search path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


def why_not() -> str | None:
    """Why no server can be started here; None where one can."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed"
    if programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    return None


def unprivileged() -> str | None:
    """The user to run it as; PostgreSQL refuses root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def new_folder() -> Path:
    """Beside the tests' own folders: each database has 8 MB, which a disk would write."""
    return Path(
        tempfile.mkdtemp(prefix="nas-sv2-pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
    )


@dataclass
class Postgres:
    """A server with its data in a folder of its own."""

    folder: Path = field(default_factory=new_folder)
    port: int = 0
    _databases: int = 0

    def prepare(self) -> None:
        if user := unprivileged():
            shutil.chown(self.folder, user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = self.folder / "password"
        words.write_text(PASSWORD)
        if user := unprivileged():
            shutil.chown(words, user)
        options = ["--username=nas", f"--pwfile={words}", "--auth=scram-sha-256", "--no-sync"]
        self._run("initdb", *options)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "--wait", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """`fast` ends sessions in order, `immediate` as a crash does."""
        self._run("pg_ctl", "--wait", "-m", how, "stop")

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_connections(self) -> None:
        """End every session, as a router or an administrator does."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def execute(self, sql: str) -> None:
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(sql))
        engine.dispose()

    def url(self, database: str) -> str:
        url = URL.create("postgresql+psycopg", "nas", PASSWORD, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def _run(self, program: str, *options: str) -> None:
        folder = programs()
        assert folder is not None
        command = [str(folder / program), "-D", f"{self.folder}/data", *options]
        done = subprocess.run(
            command,
            cwd=self.folder,
            user=unprivileged(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open in the server
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{program} {options}: see {self.folder}/log"
