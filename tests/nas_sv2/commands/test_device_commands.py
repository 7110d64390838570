"""`nas-sv2 device` as a user meets it, with real processes behind every device."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ssh_server

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command_line: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder that is not the one of the configuration."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return command_line


QUICK = tuple(
    word
    for change in ("loads=1", "time_limit_s=0.05", "noisy_time_limit_s=0.05", "min_runs=10")
    for word in ("--plan", change)
)


def test_a_device_is_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("device", "add", "pi5", "--ssh", "pi@pi5.local", "--port", "2222")
    assert code == 0
    assert "pi5 is ssh pi@pi5.local, port 2222, in " in out
    assert "nas-sv2 device test pi5" in out
    assert (tmp_path / "config" / "nas-sv2" / "devices.toml").exists()
    assert run("device", "add", "big", "--core", "cortex-a76", "--project")[0] == 0
    infos = {info["name"]: info for info in json.loads(run("device", "list", "--json")[1])}
    assert list(infos) == ["cpu", "arm", "gpu", "pi5", "big"]
    assert infos["pi5"]["available"] is None
    assert "device test pi5" in infos["pi5"]["reason"]
    assert infos["big"]["provenance"] == "emulated"
    assert "nas-sv2.toml" in infos["big"]["what"]
    assert "pi5" in run("device", "list")[1]
    assert run("device", "remove", "pi5", "--yes")[0] == 0
    assert "pi5" not in run("device", "list")[1]


def test_a_device_over_ssh_passes_its_test(run: Run, server: ssh_server.SshServer) -> None:
    host = server.host()
    config, port = str(host.ssh_config), str(host.port)
    ssh = ("--ssh", host.host, "--port", port, "--ssh-config", config, "--python", host.python)
    assert run("device", "add", "pi", *ssh, *QUICK)[0] == 0
    code, out, _ = run("device", "test", "pi")
    assert code == 0, out
    assert [line.split()[:2] for line in out.splitlines()] == [
        [name, "ok"] for name in ("python", "agent", "outputs", "measure")
    ]
    code, out, _ = run("measure", "shufflenet_v2_x0_5", "--target", "pi,big", "--json")
    assert code == 2  # big is unknown: nothing is measured
    code, out, _ = run("measure", "shufflenet_v2_x0_5", "--target", "pi", "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert (row["target"], row["provenance"]) == ("pi", "measured")
    assert row["device"].startswith("pi: ")


def test_a_built_in_target_can_be_tested(run: Run) -> None:
    code, out, _ = run("device", "test", "cpu")
    assert code == 0, out
    assert "with split 3/4, SE, residual and batch 2" in out
    assert run("device", "test", "arm")[0] == 0


def test_a_device_that_fails_its_test_says_where_and_exits_1(
    run: Run, server: ssh_server.SshServer
) -> None:
    server.know()
    host = server.host()
    config, port = str(host.ssh_config), str(host.port)
    run("device", "add", "pi", "--ssh", host.host, "--port", port, "--ssh-config", config)
    code, out, err = run("device", "test", "pi", "--json")
    (check,) = map(json.loads, out.splitlines())
    assert (code, check["name"], check["passed"]) == (1, "python", False)
    assert "connect once by hand" in check["text"]
    assert err == "nas-sv2: pi cannot be used as it is\n"


def test_a_command_with_a_missing_runtime_names_what_installs_it(run: Run, tmp_path: Path) -> None:
    bare = tmp_path / "a venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = f"{bare}/bin/python"
    assert run("device", "add", "box", "--command", "env {argv}", "--python", python)[0] == 0
    code, out, _ = run("device", "test", "box")
    assert code == 1
    assert "numpy missing, onnxruntime missing; to do there: " in out
    code, _, err = run("measure", "shufflenet_v2_x0_5", "--target", "box")
    assert code == 2
    assert "cannot import numpy" in err


def test_a_device_with_a_runtime_is_listed_with_it(run: Run) -> None:
    add = ("device", "add", "pixel", "--command", "adb shell {remote}", "--runtime")
    assert run(*add, "litert")[0] == 0
    listed = json.loads(run("device", "list", "--json")[1])[-1]
    assert listed["what"].startswith("command adb shell '{remote}', litert, from ")
    code, _, err = run(*add, "tflite", "--force")
    assert code == 2 and "--runtime must be one of" in err and "litert" in err


def test_an_emulated_core_has_the_kernels_of_a_runtime(run: Run) -> None:
    add = ("device", "add", "--core", "cortex-a76")
    assert run(*add, "a76")[0] == 0
    assert run(*add, "a76-litert", "--runtime", "litert")[0] == 0
    listed = {one["name"]: one for one in json.loads(run("device", "list", "--json")[1])}
    assert "emulated from a table of litert, from " in listed["a76-litert"]["what"]
    assert "litert" not in listed["a76"]["what"].partition(", from ")[0]
    out = run("measure", "shufflenet_v2_x0_5", "--target", "a76-litert", "--json")[1]
    assert "LiteRT" in json.loads(out)[0]["device"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("cortex-a53", "--runtime", "litert"), "core must be one of cortex-a55, cortex-a57"),
        (("cortex-a76", "--runtime", "litert", "--precision", "int8"), "precision must be fp32"),
        (
            ("cortex-a76", "--runtime", "ncnn"),
            "precision must be fp16 with ncnn on the cortex-a76",
        ),
        (("cortex-a76", "--runtime", "torch"), "runtime must be one of"),
    ],
)
def test_kernels_that_are_not_known_are_refused_in_one_line(
    run: Run, words: tuple[str, ...], line: str
) -> None:
    code, _, err = run("device", "add", "core", "--core", *words)
    assert code == 2 and line in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("template", ["env A=1 {argv}", "sh -c 'exec {remote}'"])
def test_a_command_of_the_users_is_a_device(run: Run, template: str) -> None:
    add = ("device", "add", "box", "--command", template, "--python", sys.executable, *QUICK)
    assert run(*add)[0] == 0
    code, out, _ = run("device", "test", "box")
    assert code == 0, out


# Runs the command line where no file may grow beyond a few kilobytes, as on a full disk.
ON_A_FULL_DISK = """
import resource, signal, sys
from nas_sv2.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
main()
"""


def test_a_full_disk_is_said_and_the_same_command_goes_on_later(run: Run) -> None:
    run("device", "add", "here", "--local", *QUICK)
    measure = ("measure", "shufflenet_v2_x0_5", "--target", "here", "--json")
    assert run(*measure)[0] == 0
    stored = run("db", "export")[1]
    command = [sys.executable, "-c", ON_A_FULL_DISK, *measure, "--fresh"]
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert len(full.stderr.splitlines()) == 1
    assert "disk" in full.stderr
    assert run("db", "export")[1] == stored  # what was stored is still there
    assert run(*measure, "--fresh")[0] == 0


def test_an_emulated_core_is_priced(run: Run) -> None:
    run("device", "add", "little", "--core", "cortex-a53")
    code, out, _ = run("device", "test", "little")
    assert code == 0
    assert re.match(r"shufflenet_v2_x0_5: [0-9.]+ ms, emulated; ", out)
    assert out.count("emulated;") == 1
    _, out, _ = run("device", "test", "little", "--json")
    assert json.loads(out)["provenance"] == "emulated"
    _, out, _ = run("measure", "shufflenet_v2_x0_5", "--target", "little", "--json")
    assert json.loads(out)[0]["provenance"] == "emulated"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("add", "pi"), "kind .*; got ''"),
        (("add", "pi", "--local", "--cuda"), "kind .*; got '--cuda --local'"),
        (("add", "pi;reboot", "--local"), "NAME .*; got 'pi;reboot'"),
        (("add", "cpu", "--local"), "NAME .*; got 'cpu'"),
        (
            ("add", "pi", "--ssh=-oProxyCommand=reboot"),
            "host .*; got '-oProxyCommand=reboot'",
        ),
        (("add", "pi", "--ssh", "pi", "--port", "99999"), "--port .*; got 99999"),
        (("add", "pi", "--ssh", "pi", "--ssh-config", "nowhere"), "--ssh-config must"),
        (("add", "pi", "--local", "--port", "22"), "--port must be left out: the kind local"),
        (("add", "pi", "--core", "cortex-a57", "--table", "nowhere"), "--table must name a file"),
        (("add", "pi", "--command", "adb shell"), "--command .*; got 'adb shell'"),
        (("add", "pi", "--command", "adb '"), "--command must"),
        (("add", "pi", "--core", "z80"), "--core .*; got 'z80'"),
        (("add", "pi", "--local", "--plan", "threads"), "--plan .*; got 'threads'"),
        (
            ("add", "pi", "--local", "--plan", "threads=two"),
            "plan.threads .*; got 'two'",
        ),
        (
            ("add", "pi", "--local", "--plan", "speed=1"),
            "plan.speed must be one of the keys",
        ),
        (("test", "pi"), "NAME .*; got 'pi'"),
        (("remove", "pi"), "NAME .*; got 'pi'"),  # before anything is asked
        (("remove", "pi", "--yes"), "NAME .*; got 'pi'"),
        (("dance",), "dance"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_writes_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run("device", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.search(named, err), err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_target_that_no_file_has_names_those_that_are_known(run: Run) -> None:
    run("device", "add", "pi", "--local")
    code, _, err = run("measure", "shufflenet_v2_x0_5", "--target", "po")
    assert code == 2
    assert "--target must be one of cpu, arm, gpu, pi, or a name of nas-sv2" in err
