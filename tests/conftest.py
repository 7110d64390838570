import functools
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from running import running

# Torch and most of ours are imported in the fixtures.  The process that hands the tests out to the
# workers would take seconds for them, in which no worker is there yet.
if TYPE_CHECKING:
    import postgres
    import ssh_server

    from nas_sv2.evaluate.data.image_data import ImageData
    from nas_sv2.latency.guidelines.profile import GuidelineProfile
    from nas_sv2.space.units.architecture import Architecture

# An example that takes over 0.2 s shows that the machine is busy, not that anything is wrong.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

MEMORY = Path("/dev/shm")  # a folder of the main memory, on Linux
MEMORY_BYTES = 4 << 30  # three times what the folders and servers of a run may hold


def pytest_configure() -> None:
    """Keep the tests' folders in memory, and each worker of pytest-xdist to a core.

    A database waits for the disk at each commit, which shows nothing here: what is killed are
    processes, not the machine.  Torch's threads wait spinning for each other, unless they find
    one core as torch is imported, which comes later.  Garbage is collected rarely: next to none is
    found.

    Interrupts are heeded where whoever started pytest had them ignored (`nohup`): what a test
    starts inherits that, and would wait for its interrupt without end.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        flags = os.statvfs(MEMORY).f_flag
        if not flags & (os.ST_RDONLY | os.ST_NOEXEC):
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if worker := os.environ.get("PYTEST_XDIST_WORKER", ""):
        gc.disable()
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what is imported by now: it took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small networks run faster on one thread than they hand work over."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def migrations_loaded_once() -> Iterator[None]:
    """Alembic executes all files of a schema's history for each database: 60 ms for Optuna's."""
    import alembic.util

    load = alembic.util.load_python_file
    load_once = functools.cache(load)

    def loaded(folder: str, name: str) -> ModuleType:
        return load(folder, name) if name == "env.py" else load_once(str(folder), str(name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alembic.util, "load_python_file", loaded)
        yield


@pytest.fixture(autouse=True)
def same_cores() -> Iterator[None]:
    """A test that pins its process to other cores leaves it on the cores it was on."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if before is not None and os.sched_getaffinity(0) != before:
        os.sched_setaffinity(0, before)


@pytest.fixture(autouse=True)
def own_configuration(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test has devices, decoded images, locks or the terminal of the user who runs it."""
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in an empty folder: exit code, standard output, standard error."""
    from nas_sv2.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas-sv2", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def forked() -> Iterator[Callable[..., tuple[int, Any]]]:
    """Calls `main` of a stand-in in a process of its own: how that ended, what it returned."""
    program, pipe = Path(__file__).parent / "stand_ins" / "forked.py", subprocess.PIPE
    with running([sys.executable, str(program)], stdin=pipe, stdout=pipe, text=True) as process:
        asks, answers = process.stdin, process.stdout
        assert asks is not None and answers is not None

        def call(module: ModuleType, *arguments: Any) -> tuple[int, Any]:
            print(json.dumps([module.__name__, *arguments], default=str), file=asks, flush=True)
            ended, returned = json.loads(answers.readline())
            return ended, returned

        yield call
        asks.close()


@pytest.fixture
def server(tmp_path: Path) -> "Iterator[ssh_server.SshServer]":
    """An OpenSSH server that listens."""
    import ssh_server

    if reason := ssh_server.why_not():
        pytest.skip(reason)
    server = ssh_server.SshServer(tmp_path / "sshd")
    server.prepare()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[postgres.Postgres]":
    """A PostgreSQL server."""
    import postgres

    if reason := postgres.why_not():
        pytest.skip(reason)
    server = postgres.Postgres()
    server.prepare()
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: the test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    server: postgres.Postgres = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture(autouse=True)
def databases_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every database of the test: a connection that is garbage while open warns."""
    from nas_sv2 import passwords
    from nas_sv2.database.database import Database

    opened: list[Database] = []
    prepare = Database.__post_init__

    def prepared(self: Database) -> None:
        prepare(self)
        opened.append(self)

    monkeypatch.setattr(Database, "__post_init__", prepared)
    monkeypatch.setattr(passwords, "_known", set())
    yield
    for db in opened:
        db.close()


@pytest.fixture
def protected(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Paths that the system is made to call read-only, as root may write to all."""
    found: set[Path] = set()
    access = os.access

    def answer(path: Path, mode: int, **options: bool) -> bool:
        return Path(path) not in found and access(path, mode, **options)

    monkeypatch.setattr("os.access", answer)
    return found


@pytest.fixture(scope="session")
def animals() -> "ImageData":
    from nas_sv2.evaluate.data.datasets import open_animals

    return open_animals()


@pytest.fixture(scope="session")
def arm_profile() -> "GuidelineProfile":
    """The guideline profile of the emulated Cortex-A57."""
    from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
    from nas_sv2.latency.guidelines.experiment_run import run_experiments, times_of
    from nas_sv2.latency.guidelines.profile import profile_device

    arm = EmulatedArm.open()
    return profile_device(arm, times_of(run_experiments(arm)))


@pytest.fixture(scope="session")
def tiny() -> "Architecture":
    from nas_sv2.space.units.architecture import Architecture, Stage

    stages = (Stage(1, 16), Stage(1, 32), Stage(1, 64))
    return Architecture(stem=(8,), stages=stages, head=64, resolution=64)


@pytest.fixture(scope="session")
def blobs() -> "ImageData":
    """Two classes that a glance tells apart, 16×16 grey: the brighter half is above or below."""
    import torch

    from nas_sv2.evaluate.data.image_data import ImageData, Part

    count, side = 400, 16
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 120, (count, 1, side, side), generator=generator)
    labels = torch.arange(count) % 2
    images[labels == 0, :, : side // 2] += 100
    images[labels == 1, :, side // 2 :] += 100
    images, half = images.to(torch.uint8), count // 2
    train, val = Part(images[:half], labels[:half]), Part(images[half:], labels[half:])
    return ImageData("blobs", "k", ("above", "below"), train, val)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of classes with `count` readable, distinct images each."""
    import numpy as np
    from PIL import Image

    def make(
        root: str = "pets", classes: tuple[str, ...] = ("cat", "dog"), count: int = 10
    ) -> Path:
        for label, name in enumerate(classes):
            (tmp_path / root / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng([label, number]).integers(0, 255, (9, 12, 3))
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(tmp_path / root / name / f"{number}.png")
        return tmp_path / root

    return make
