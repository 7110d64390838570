"""The command line as a user meets it: what it prints, and with what it exits."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from scripted_study import ScriptedStudy

from nas_sv2.__main__ import main
from nas_sv2.search.walk import feasibility
from nas_sv2.space.families.published import STRUCTURES, published_network
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.space.units.reference import reference

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command_line: Run) -> Run:
    """Runs the command line in an empty folder: exit code, standard output, standard error."""
    return command_line


def test_cost_in_stable_keys(run: Run) -> None:
    code, out, _ = run("network", "cost", "shufflenet_v2_x1_0", "--json")
    data = json.loads(out)
    assert code == 0
    assert data["name"] == "shufflenet_v2_x1_0"
    assert data["digest"] == reference("shufflenet_v2_x1_0").digest
    assert (data["flops"], data["params"]) == (145_814_296, 2_279_760)
    assert data["memory_access_bytes"] > 0
    assert data["guidelines"].keys() == {"G1", "G2", "G3", "G4"}
    assert max(data["guidelines"].values()) <= 0


def test_cost_of_a_file_is_that_of_the_network_in_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(architecture_to_yaml(reference("shufflenet_v2_50")))
    _, out, _ = run("network", "cost", "net.yaml")
    assert "16,576,898" in out


def test_measure_in_stable_keys_and_from_the_store(run: Run) -> None:
    networks = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0")
    code, out, _ = run("measure", *networks, "--target", "arm,cpu", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [(row["name"], row["target"]) for row in rows] == [
        (name, target) for target in ("arm", "cpu") for name in networks
    ]
    keys = {"name", "digest", "ms", "ci_ms", "p95_ms", "provenance", "runs", "contended", "device"}
    for row in rows:
        assert keys <= row.keys()
        assert row["ms"] > 0
    emulated, measured = rows[0], rows[2]
    assert (emulated["provenance"], emulated["runs"]) == ("emulated", None)
    assert measured["provenance"] == "measured"
    assert measured["runs"] >= 50
    assert measured["ci_ms"][0] <= measured["ms"] <= measured["ci_ms"][1]
    assert [row["rank"] for row in rows] == [1, 2, 1, 2]
    assert measured["reference"] == "shufflenet_v2_x1_0"
    assert measured["ratio_ci"][0] <= measured["ratio"] <= measured["ratio_ci"][1]
    assert measured["against"][0]["settled"]
    assert 2 < measured["against"][0]["slower_to_faster"] < 4.5
    alone = ("measure", networks[0], "--target", "cpu", "--json")
    (again,) = json.loads(run(*alone)[1])
    assert again["stored"] != measured["contended"]  # a contended figure is measured again
    if again["stored"]:
        same = ("ms", "ci_ms", "ratio", "ratio_ci", "runs", "note")
        assert [again[key] for key in same] == [measured[key] for key in same]  # to the last digit
    (fresh,) = json.loads(run(*alone, "--fresh")[1])
    assert fresh["ms"] != again["ms"]


def test_devices_say_where_figures_come_from(run: Run) -> None:
    infos = {info["name"]: info for info in json.loads(run("device", "list", "--json")[1])}
    assert infos["cpu"]["provenance"] == "measured"
    assert infos["cpu"]["available"]
    assert infos.keys() == {"cpu", "arm", "gpu"}


FUTURE = "nas_sv2_architecture: 9\n"
UNKNOWN_KEY = architecture_to_yaml(reference("shufflenet_v2_x0_5")) + "colour: red\n"
SPLIT = architecture_to_yaml(reference("shufflenet_v2_x0_5")).replace("1/2", "1/5")
OBJECTS = "!!python/object/apply:os.getcwd []\n"

SEARCH = ("search", "--target", "arm", "--recipe", "smoke", "--trials", "2")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("search", "--target", "toaster", "--budget", "140M"), "--target .*; got 'toaster'"),
        (("search", "--target", "arm,arm"), "--target .*; got 'arm,arm'"),
        (("search", "--budget", "140M"), "--target is missing: .*arm, cpu, gpu or a device"),
        ((*SEARCH, "--budget", "140"), "--budget .*; got '140'"),
        ((*SEARCH, "--budget=-140M"), "--budget .*; got '-140M'"),
        ((*SEARCH, "--budget", "cpu=5ms"), "--budget .*; got 'cpu=5ms'"),
        ((*SEARCH, "--tolerance", "2"), "--tolerance .*; got 2.0"),
        ((*SEARCH, "--trials", "0"), "--trials .*; got 0"),
        ((*SEARCH, "--trials", "many"), "--trials"),
        ((*SEARCH, "--seed=-1"), "--seed .*; got -1"),
        ((*SEARCH, "--timeout", "5"), "--timeout .*; got '5'"),
        ((*SEARCH, "--sampler", "magic"), "--sampler .*; got 'magic'"),
        ((*SEARCH, "--guidelines", "strict"), "--guidelines .*; got 'strict'"),
        ((*SEARCH, "--recipe", "slow"), "--recipe .*; got 'slow'"),
        ((*SEARCH, "--space", "41M"), "space .*; got '41M'"),
        ((*SEARCH, "--space", "none.yaml"), "none.yaml"),
        ((*SEARCH, "--data", "dogs"), "--data .*; got 'dogs'"),
        ((*SEARCH, "--data", "imagefolder:nowhere"), "nowhere"),
        ((*SEARCH, "--data", "imagefolder:one_class"), "one_class"),
        ((*SEARCH, "--data", "imagefolder:broken"), "torn.png"),
        ((*SEARCH, "--storage", "no url"), "--storage .*; got 'no url'"),
        ((*SEARCH, "--colour", "red"), "--colour"),
        ((*SEARCH, "--from", "nothing"), "--from .* there is none yet; got 'nothing'"),
        (("network", "cost", "shufflenet"), "architecture .*; got 'shufflenet'"),
        (("network", "cost", "future.yaml"), "future.yaml: nas_sv2_architecture .*; got 9"),
        (("network", "cost", "unknown.yaml"), "unknown.yaml: colour .*; got 'red'"),
        (("network", "cost", "split.yaml"), r"split.yaml: stages\[0\].split must .*; got '1/5'"),
        (("network", "cost", "objects.yaml"), "objects.yaml"),
        (("network", "cost", "study:3"), "--storage"),
        (("network", "cost", "shufflenet_v2_x1_0", "--storage"), "--storage"),
        (("measure", "shufflenet_v2_x1_0", "--target", "toaster"), "--target .*; got 'toaster'"),
        (("measure", "efficientnet_b0", "--target", "arm"), r"or your own file \(\.onnx for "),
        (("measure", "--target", "cpu"), r"ARCH\.\.\. is missing: A reference name, "),
        (("front",), "STUDY is missing: Name of a study; nas-sv2 study list shows them"),
        (("device", "add"), "NAME is missing: Your name of the device"),
        (("front", "study"), "--storage"),
        (("export", "study", "--out", "x"), "--storage"),
        (("dashboard",), "--storage"),
        (("dashboard", "--port", "0"), "--port"),
        (("dance",), "'dance'; nas-sv2 has search, front, "),
        (("study", "dance"), "'dance'; nas-sv2 study has .*confirm, "),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_writes_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    for name, text in {
        "future": FUTURE,
        "unknown": UNKNOWN_KEY,
        "split": SPLIT,
        "objects": OBJECTS,
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "one_class" / "cats").mkdir(parents=True)
    Image.new("L", (28, 28)).save(tmp_path / "one_class" / "cats" / "a.png")
    for label in ("cats", "dogs"):
        (tmp_path / "broken" / label).mkdir(parents=True)
        for index in range(4):
            Image.new("L", (28, 28), index).save(tmp_path / "broken" / label / f"{index}.png")
    (tmp_path / "broken" / "dogs" / "torn.png").write_bytes(b"\x89PNG\r\n")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("nas-sv2: ")
    assert re.search(named, err), err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("budget", "nearest"),
    [("1M", "MFLOPs"), ("0.1Mparams", "M params"), ("arm=0.5ms", "emulated")],
)
def test_an_infeasible_budget_exits_3_with_the_nearest_figure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, nearest: str
) -> None:
    monkeypatch.setattr(feasibility, "SAMPLES", 60)
    code, _, err = run(*SEARCH, "--budget", budget)
    assert code == 3
    assert nearest in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("*.db*"))


def test_a_refused_search_leaves_no_study_in_a_database_that_was_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ScriptedStudy("sqlite:///nas-sv2.db", "first").all(found=2)
    monkeypatch.setattr(feasibility, "SAMPLES", 60)
    assert run(*SEARCH, "--budget", "1M")[0] == 3
    code, out, _ = run("study", "list", "--json")
    assert (code, [each["study"] for each in json.loads(out)]) == (0, ["first"])


def test_a_target_that_is_not_measured_is_refused_where_measured_is_required(run: Run) -> None:
    code, _, err = run("measure", "shufflenet_v2_x0_5", "--target", "arm", "--require-measured")
    assert (code, err) == (
        2,
        "nas-sv2: --target must be a target that measures, because measured latencies are "
        "required; these are emulated; got 'arm'\n",
    )


@pytest.mark.parametrize(
    ("storage", "wanted", "exits"),
    [
        ("sqlite:////nowhere/at/all/x.db", "must be a file in a folder that exists", 2),
        ("sqlite:///text.db", "text.db is not an SQLite database", 1),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(
    run: Run, tmp_path: Path, storage: str, wanted: str, exits: int
) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one " * 10)
    for command in (SEARCH, ("measure", "shufflenet_v2_x0_5", "--target", "arm")):
        code, _, err = run(*command, "--storage", storage)
        assert code == exits
        assert wanted in err
        assert len(err.splitlines()) == 1


def test_cost_knows_the_networks_of_every_family(run: Run) -> None:
    one_each = {structure.family: name for name, structure in STRUCTURES.items()}
    for name in one_each.values():
        code, out, _ = run("network", "cost", name, "--json")
        assert code == 0
        data = json.loads(out)
        assert data["name"] == name
        assert data["digest"] == published_network(name).digest
        assert data["flops"] > 0
        assert data["guidelines"].keys() == {"G1", "G2", "G3", "G4"}


def test_an_interrupt_during_the_first_imports_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a traceback: the command line was not there yet to catch it."""

    class Interrupting:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "nas_sv2.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "nas_sv2.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


def test_a_working_folder_that_was_deleted_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    code, out, err = run("measure", "0.5x", "--target", "arm")
    monkeypatch.chdir(tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        "nas-sv2: the working folder must be a folder that is there "
        "(No such file or directory); got '.'\n"
    )


def test_a_home_that_cannot_be_written_to_is_no_warning_of_a_library(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    homes = ("HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    words = ("network", "reuse", "0.5x", "--out", "reuse.png")
    done = subprocess.run(
        [sys.executable, "-m", "nas_sv2", *words],
        cwd=tmp_path,
        env={**os.environ, **dict.fromkeys(homes, str(tmp_path / "file" / "home"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "reuse.png").exists()
