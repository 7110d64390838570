"""Searches on a Ray cluster of two nodes, which are processes of this machine."""

import dataclasses
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import ray_cluster
from doubles import EventRecorder
from jobs import ends, tells
from optuna.trial import TrialState
from postgres import Postgres
from ray_cluster import DEVICE, TwoNodes, kill, processes_of, two_nodes, write_devices

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, EvaluationError, MeasurementError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.evaluators import choose_evaluator
from nas_sv2.evaluate.fitting.evaluator import Setting
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.latency.devices.local import is_arm
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search.events.events import Event
from nas_sv2.search.scale.cluster import (
    OFFERED,
    Cluster,
    ClusterDevice,
    ClusterTraining,
    TrainingOrder,
    connected,
    run_threads,
    tried,
    versions,
)
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.storage.named_networks import records_of
from nas_sv2.studies.storage.study import load_study

TRIALS = 4
STAGE = "  - {depth: {low: 1, high: 2}, width: {low: %d, high: %d, step: 8}}\n"
SPACE = (
    "nas_sv2_space: 1\nstem: [8]\nhead: {low: 16, high: 64, step: 16}\n"
    "resolution: 32\nchannels: 1\nclasses: 10\nstages:\n"
    + "".join(STAGE % (low, low + 32) for low in (16, 48, 80))
)
RECIPE = (
    "nas_sv2_recipe: 1\nepochs: 3\nimages_per_epoch: 320\nvalidation_images: 200\nbatch: 16\n"
    "learning_rate: 0.05\n"
)
searches: list[subprocess.Popen[str]] = []
"""That were started by a test."""
needs_ray = pytest.mark.skipif(bool(ray_cluster.why_not()), reason=str(ray_cluster.why_not()))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    with two_nodes(tmp_path_factory.mktemp("nodes")) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where searches are started; the driver knows the device that the second node has."""
    write_devices(tmp_path / "config")
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_search_is_left() -> Iterator[None]:
    yield
    while searches:
        search = searches.pop()
        search.kill()
        search.communicate()


def search_on(nodes: TwoNodes, *more: str) -> subprocess.Popen[str]:
    """A search on two nodes, as a user starts it."""
    command = [sys.executable, "-m", "nas_sv2", "search", "--target", DEVICE, "--study", "s"]
    command += ["--space", "space.yaml", "--recipe", "tiny.yaml", "--guidelines", "off"]
    command += ["--trials", str(TRIALS), "--workers", "2", "--ray", nodes.address, "--json"]
    pipe = subprocess.PIPE
    searches.append(subprocess.Popen([*command, *more], stdout=pipe, stderr=pipe, text=True))
    return searches[-1]


def ended(search: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = search.communicate(timeout=600)
    return search.returncode, out, error


def check_whole(storage: str) -> None:
    """Every finished trial is there once, of a network of its own, and nothing is under way."""
    study = load_study(Database.open(storage), "s")
    done = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    records = records_of(Database.open(storage), "s")
    assert sorted(records) == [trial.number for trial in done]
    assert (
        len(records) == len({record.architecture.digest for record in records.values()}) == TRIALS
    )
    assert all(record.latencies[DEVICE].provenance == "measured" for record in records.values())
    unfinished = (TrialState.RUNNING, TrialState.WAITING)
    assert not [trial.number for trial in study.trials if trial.state in unfinished]


def wait_for(seen: Callable[[], object], longest_s: float = 240.0) -> None:
    ends = time.monotonic() + longest_s
    while not seen():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.05)


def training() -> list[int]:
    """The processes that train."""
    return processes_of(["ray::train"])


@needs_ray
@pytest.mark.slow
def test_a_search_on_two_nodes_finds_what_a_search_here_would(
    nodes: TwoNodes, folder: Path
) -> None:
    code, out, error = ended(search_on(nodes))
    assert code == 0, error
    lines = json.loads(out.splitlines()[0])["lines"]
    assert f"2 nodes, 2 CPUs, 0 GPUs; devices {DEVICE}" in lines[-1]
    check_whole("sqlite:///nas-sv2.db")
    record = records_of(Database.open("sqlite:///nas-sv2.db"), "s")[0]
    there = record.evaluation
    here = ProxyTraining(open_recipe("tiny.yaml"), open_data("animals"), threads=1)
    evaluation = here.evaluate(record.architecture)
    assert (there.accuracy, there.loss) == (evaluation.accuracy, evaluation.loss)
    assert there.device == evaluation.device == "cpu, 1 threads"


class Nodes(Cluster):
    """A cluster that needs no Ray to say what its nodes have."""

    def nodes(self) -> list[Mapping[str, float]]:
        return [{"CPU": 2.0, f"{OFFERED}{DEVICE}": 1.0, f"{OFFERED}gpu": 1.0}, {"CPU": 8.0}]


def test_a_device_is_one_that_a_node_offers(folder: Path) -> None:
    cluster = Nodes("here")
    assert ClusterDevice.offered(cluster, DEVICE) is not None
    assert ClusterDevice.offered(cluster, "gpu") is not None
    assert "2 nodes, 10 CPUs, 0 GPUs; devices board, gpu" in cluster.describe()
    for name in ("cpu", "arm"):
        assert ClusterDevice.offered(cluster, name) is None
    elsewhere = partial(ClusterDevice.offered, cluster)
    with pytest.raises(ConfigError, match="a device that a machine of the cluster offers"):
        TargetBook.read().open("cpu", elsewhere=elsewhere)  # never this machine's in its place
    if not is_arm():
        assert TargetBook.read().open("arm", elsewhere=elsewhere).provenance == "emulated"


def test_a_training_needs_a_node_that_has_room_for_it(folder: Path) -> None:
    cluster = Nodes("here")
    order = TrainingOrder(
        choose_evaluator("recipe", "smoke"), "animals", "0", False, 0, 2, "cpu", folder, versions()
    )
    local = order.choice.open(open_data("animals"), Setting())
    assert ClusterTraining(local, order, cluster).place == local.place
    for wanted, said in (
        (dataclasses.replace(order, threads=9), "a node of 9 CPUs for"),
        (dataclasses.replace(order, device="cuda"), "a node of 2 CPUs and 1 GPUs for"),
    ):
        with pytest.raises(ConfigError, match=said):
            ClusterTraining(local, wanted, cluster)
    with pytest.raises(ConfigError, match="the content that the driver has, 0"):
        order.trained(reference("shufflenet_v2_x0_5"), None)


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:0", "ray://host:1", "nowhere"])
def test_a_cluster_that_is_not_there_is_refused_at_once(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match="ray must"), connected(address):
        pass
    assert time.monotonic() - began < 30


@needs_ray
def test_a_port_is_not_taken_modulo_65536() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1] + 65_536
        refused = pytest.raises(ConfigError, match="a port is a number from 1 to 65535")
        with refused, connected(f"127.0.0.1:{port}"):
            pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"nas-sv2\[ray\]"), connected("auto"):
        pass


def test_what_a_node_raises_comes_back_as_a_value() -> None:
    def fails(error: Exception) -> None:
        raise error

    lost = tried(partial(fails, MeasurementError("no answer")), versions())
    assert isinstance(lost, MeasurementError)
    assert str(lost).startswith("no answer (node ")
    diverged = tried(partial(fails, EvaluationError("not finite")), versions())
    assert isinstance(diverged, EvaluationError)
    other = tried(partial(fails, ConfigError("data", "npz:x", "must be a file")), versions())
    assert isinstance(other, DeviceError)  # of that node: the candidate can be asked again
    assert "data must be a file" in str(other)
    old = tried(lambda: 1, "nas-sv2 0.0")
    assert isinstance(old, DeviceError)
    assert "nas-sv2 0.0" in str(old)
    assert tried(lambda: 1, versions()) == 1
    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        tried(lambda: 1 // 0, versions())


def test_an_error_of_one_thread_is_said_and_the_others_go_on() -> None:
    heard = EventRecorder()
    errors = run_threads(ends, 3, heard, threading.Event())
    assert [error.exit_code for error in errors] == [3, 2]
    assert sorted(heard.notices) == [
        "worker 0 ended early: no network",
        f"worker 1 ended early: {errors[1]}",
    ]


def test_a_fault_of_the_users_function_is_not_lost_in_threads() -> None:
    def full(event: Event) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run_threads(tells, 2, full, threading.Event())


@needs_ray
@pytest.mark.slow
def test_with_postgresql(nodes: TwoNodes, folder: Path, postgres_server: Postgres) -> None:
    storage = postgres_server.database()
    code, _, error = ended(search_on(nodes, "--storage", storage))
    assert code == 0, error
    check_whole(storage)


@needs_ray
@pytest.mark.slow
def test_a_training_that_is_killed_is_made_again(nodes: TwoNodes, folder: Path) -> None:
    search = search_on(nodes)
    wait_for(training)
    kill(training())
    code, _, error = ended(search)
    assert code == 0, error
    check_whole("sqlite:///nas-sv2.db")


@needs_ray
@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_all_to_the_next(nodes: TwoNodes, folder: Path) -> None:
    search = search_on(nodes)
    wait_for(training)
    search.send_signal(signal.SIGKILL)
    ended(search)
    wait_for(lambda: not training())  # Ray ends what a driver leaves
    code, _, error = ended(search_on(nodes))
    assert code == 0, error
    check_whole("sqlite:///nas-sv2.db")


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_search_that_is_told_to_end_does_so_in_order(
    nodes: TwoNodes, folder: Path, sent: signal.Signals
) -> None:
    search = search_on(nodes)
    wait_for(training)
    search.send_signal(sent)
    code, _, error = ended(search)
    assert code == 130, error
    assert "Traceback" not in error
    study = load_study(Database.open("sqlite:///nas-sv2.db"), "s")
    assert [trial for trial in study.trials if trial.state is TrialState.WAITING]
    assert not [trial for trial in study.trials if trial.state is TrialState.RUNNING]
    code, _, error = ended(search_on(nodes))
    assert code == 0, error
    check_whole("sqlite:///nas-sv2.db")


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_killed_is_replaced_by_another(folder: Path, tmp_path: Path) -> None:
    with two_nodes(tmp_path / "config") as nodes:
        search = search_on(nodes)
        wait_for(lambda: "finished" in _said(folder))
        nodes.kill_second()
        nodes.add()
        code, _, error = ended(search)
        assert code == 0, error
    check_whole("sqlite:///nas-sv2.db")


@needs_ray
@pytest.mark.slow
def test_a_device_whose_node_stays_away_ends_the_search(folder: Path, tmp_path: Path) -> None:
    with two_nodes(tmp_path / "config") as nodes:
        search = search_on(nodes)
        wait_for(lambda: "finished" in _said(folder))
        nodes.kill_second()
        code, _, error = ended(search)
        assert code == 1
        assert f"{DEVICE}: no node of" in error.splitlines()[-1]
        assert "Traceback" not in error
        nodes.add()
        code, _, error = ended(search_on(nodes))
        assert code == 0, error
    check_whole("sqlite:///nas-sv2.db")


def _said(folder: Path) -> str:
    """`finished` once a trial is; the search's own output is read when it has ended."""
    if not (folder / "nas-sv2.db").exists():
        return ""
    try:
        return "finished" if records_of(Database.open("sqlite:///nas-sv2.db"), "s") else ""
    except ConfigError:  # no study yet
        return ""
