"""Commands on a database that goes away, that may only be read, or that is damaged."""

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from doubles import FakeEvaluator
from mounts import own_mounts
from scripted_study import ScriptedStudy

from nas_sv2.database.database import Database
from nas_sv2.search.session import session

Run = Callable[..., tuple[int, str, str]]
READS: tuple[tuple[str, ...], ...] = (
    ("front", "told"),
    ("report", "told", "--out", "OUT/report.html"),
    ("report", "told", "--out", "OUT/report.md"),
    ("network", "cost", "told:0"),
    ("study", "list"),
    ("study", "show", "told"),
    ("db", "export", "--out", "OUT/measurements.jsonl"),
    ("measure", "told:0", "--target", "arm"),
)
"""Commands that read a study; OUT is a folder that may be written."""
WRITES: tuple[tuple[str, ...], ...] = (
    ("study", "delete", "told", "--yes"),
    ("study", "replay", "told", "--target", "arm"),
    ("search", "--target", "arm", "--budget", "40M", "--recipe", "smoke", "--trials", "1"),
    ("measure", "told:0", "--target", "cpu", "--fresh"),
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the closed database of a study, in a folder of its own."""
    open_file = tmp_path_factory.mktemp("open") / "nas-sv2.db"
    ScriptedStudy(f"sqlite:///{open_file}").all(found=2)
    file = tmp_path_factory.mktemp("told") / open_file.name
    with closing(sqlite3.connect(open_file)) as source, closing(sqlite3.connect(file)) as closed:
        source.backup(closed)
    assert os.listdir(file.parent) == [file.name]
    return file


@pytest.fixture
def file(told: Path, tmp_path: Path) -> Path:
    """Return a copy of the database."""
    copy = tmp_path / "copy"
    shutil.copytree(told.parent, copy)
    return copy / told.name


def failed(done: tuple[int, str, str], code: int) -> str:
    """Return the one line with which a command ended."""
    assert (done[0], done[2].count("\n")) == (code, 1), done
    return done[2]


def test_a_search_whose_database_is_deleted_ends_in_a_line(
    command_line: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator, file = FakeEvaluator(), tmp_path / "nas-sv2.db"

    def fault(number: int) -> None:
        if number == 2:
            file.unlink()

    evaluator.fault = fault
    monkeypatch.setattr(session, "StoredEvaluator", lambda *_: evaluator)
    done = command_line(*WRITES[2][:-1], "6", "--workers", "1")
    assert f"{file} was deleted or moved while it was in use" in failed(done, 2)
    assert len(evaluator.asked) == 2
    assert not file.exists()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_study_that_may_only_be_read_is_read_and_not_written(
    command_line: Run, file: Path, tmp_path: Path, protected: set[Path], what: str
) -> None:
    protected.add(file.parent if what == "folder" else file)
    kept = sorted(file.parent.iterdir()), file.read_bytes()
    storage = ("--storage", str(file))
    for words in READS:
        code, _, err = command_line(
            *(word.replace("OUT", str(tmp_path)) for word in words), *storage
        )
        assert code == 0, (words, err)
    for words in WRITES:
        line = failed(command_line(*words, *storage), 1)
        assert "is read-only for this user" in line, words
    assert (sorted(file.parent.iterdir()), file.read_bytes()) == kept


def test_measuring_in_a_folder_that_is_read_only_says_so(
    command_line: Run, tmp_path: Path, protected: set[Path]
) -> None:
    protected.add(tmp_path)
    done = command_line("measure", "shufflenet_v2_x0_5", "--target", "arm")
    assert "--storage must be a file that can be made" in failed(done, 2)
    assert f"the folder {tmp_path} is read-only" in done[2]


@pytest.mark.parametrize("at", [0, 100], ids=["header", "page"])
def test_a_damaged_database_is_called_that(command_line: Run, file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at : at + 500] = os.urandom(500)
    file.write_bytes(content)
    for words in (*READS[:1], *READS[3:6], *WRITES[:3]):
        line = failed(command_line(*words, "--storage", str(file)), 1)
        assert line.startswith(f"nas-sv2: {file} is ")
        assert "--storage" not in line


# For real: a user who may not write, and a folder that is mounted to be read


def without_rights(file: Path) -> list[str]:
    """Return the start of a command that the modes of files bind, of root too."""
    file.chmod(0o444)
    file.parent.chmod(0o555)
    if os.getuid() != 0:
        return ["sh", "-c"]
    if shutil.which("setpriv") is None:
        pytest.skip("root writes to every file")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "sh", "-c"]


def on_a_read_only_mount(file: Path) -> list[str]:
    """Return the start of a command that finds the folder mounted to be read alone."""
    way, folder = own_mounts(), shlex.quote(str(file.parent))
    if way is None:
        pytest.skip("nothing can be mounted: neither as root nor in a user namespace")
    mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
    return [*way, "sh", "-c", f'{mount} && exec sh -c "$0"']


@pytest.mark.slow
@pytest.mark.parametrize("left", [False, True], ids=["closed", "killed"])
@pytest.mark.parametrize("start", [without_rights, on_a_read_only_mount])
def test_for_real(
    file: Path, tmp_path: Path, start: Callable[[Path], list[str]], left: bool
) -> None:
    """A process that was killed left its log, which is read too."""
    if left:
        with Database.open(str(file)) as db:
            with db.begin() as connection:
                connection.exec_driver_sql("UPDATE studies SET study_name = 'logged'")
            shutil.copytree(file.parent, tmp_path / "killed")
        file = tmp_path / "killed" / file.name
    kept, begin = sorted(file.parent.iterdir()), start(file)

    def run(*words: str) -> tuple[int, str, str]:
        command = shlex.join([sys.executable, "-m", "nas_sv2", *words])
        done = subprocess.run(
            [*begin, f"exec {command} --storage {shlex.quote(str(file))}"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    name = "logged" if left else "told"
    code, out, err = run("front", name)
    assert code == 0 and "shufflenet_v2_x0_5" in out, err
    assert "is read-only for this user" in failed(run("study", "delete", name, "--yes"), 1)
    assert sorted(file.parent.iterdir()) == kept


def test_a_full_disk_is_called_that(file: Path, tmp_path: Path) -> None:
    """SQLite makes 32 kB beside the file even to read it, and calls it an input/output error."""
    if (way := own_mounts()) is None:
        pytest.skip("nothing can be mounted: neither as root nor in a user namespace")
    disk = tmp_path / "disk"
    disk.mkdir()
    copy, size_bytes = disk / file.name, file.stat().st_size + (1 << 14)
    steps = (
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(disk)],
        ["cp", str(file), str(copy)],
        [sys.executable, "-m", "nas_sv2", "front", "told", "--storage", str(copy)],
    )
    done = subprocess.run(
        [*way, "sh", "-c", " && ".join(map(shlex.join, steps))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    line = failed((done.returncode, done.stdout, done.stderr), 1)
    assert f"{copy} cannot be used: its disk is full" in line
