"""The file of the user's devices: what it says, what it refuses, and what hostile names do."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas_sv2.errors import ConfigError, DeviceError, StoreError
from nas_sv2.latency.devices.command import CommandTemplate, command_words
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN, LocalPython
from nas_sv2.latency.devices.ssh import SshHost
from nas_sv2.latency.targets import device_file
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.device_file import (
    PROJECT_FILE,
    EmulatedCore,
    add_device,
    read_devices,
    remove_device,
    user_file,
)

HOSTILE = (
    "", " ", "a b", "a;b", "$(id)", "`id`", "-rf", "../etc", "a/b", "a\nb", "a,b", "a=b", "a\0b",
    "[x]", "x.y]\n[z", "é", "a" * 65, ".", "cpu", "GPU", "arm",
)  # fmt: skip


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


def test_a_user_without_a_home_has_the_devices_of_the_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_home(program: str) -> Path:
        raise RuntimeError(f"could not determine the home directory of {program}")

    monkeypatch.setattr(device_file, "user_config_path", no_home)
    assert read_devices() == {}
    add_device("pi", {"kind": "local"}, file=PROJECT_FILE)
    assert list(read_devices()) == ["pi"]
    with pytest.raises(StoreError, match="no home for a file of devices; name a folder in XDG"):
        user_file()
    assert remove_device("pi") == PROJECT_FILE


def test_what_is_added_is_read_again_and_what_stood_there_stays() -> None:
    PROJECT_FILE.write_text("# our boards\n[devices.old]  # on the shelf\nkind = 'local'\n")
    add_device(
        "pi5",
        {"kind": "ssh", "host": "pi@pi5.local", "port": 2222, "plan": {"threads": 4}},
        file=PROJECT_FILE,
    )
    written = PROJECT_FILE.read_text()
    assert "# our boards" in written
    assert "# on the shelf" in written
    entry = read_devices()["pi5"]
    assert entry.place == SshHost("pi@pi5.local", 2222)
    assert entry.plan is not None
    assert (entry.plan.threads, entry.plan.batch) == (4, CPU_PLAN.batch)
    assert entry.describe() == "ssh pi@pi5.local, port 2222"
    assert remove_device("pi5") == PROJECT_FILE
    assert list(read_devices()) == ["old"]


def test_every_kind() -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text(
        "[devices.a]\nkind = 'local'\npython = '/usr/bin/python3'\n"
        "[devices.b]\nkind = 'command'\ncommand = ['docker', 'exec', '-i', 'box', '{argv}']\n"
        "[devices.c]\nkind = 'emulated'\ncore = 'cortex-a55'\nprecision = 'int8'\n"
        "[devices.d]\nkind = 'cuda'\nmax_mib = 100\n[devices.d.plan]\nbatch = 1\n"
    )
    places = {name: entry.place for name, entry in read_devices().items()}
    assert places == {
        "a": LocalPython("/usr/bin/python3"),
        "b": CommandTemplate(("docker", "exec", "-i", "box", "{argv}")),
        "c": EmulatedCore("cortex-a55", "int8"),
        "d": LocalPython(),
    }
    plan = read_devices()["d"].plan
    assert plan is not None
    assert (plan.runtime, plan.processor, plan.batch) == ("torch", "cuda", 1)
    assert GPU_PLAN.batch == 8
    assert read_devices()["c"].plan is None


def test_a_runtime_brings_its_own_precision() -> None:
    """ncnn is timed as it is shipped, in half precision, unless the file says otherwise."""
    for name, plan in (("as-shipped", {}), ("exact", {"precision": "fp32"})):
        settings = {"kind": "ssh", "host": "pi", "plan": {"runtime": "ncnn", **plan}}
        add_device(name, settings, file=user_file())
    plans = {name: entry.plan for name, entry in read_devices().items()}
    assert {name: plan and plan.precision for name, plan in plans.items()} == {
        "as-shipped": "fp16",
        "exact": "fp32",
    }


def test_the_projects_device_comes_before_the_users() -> None:
    add_device("pi", {"kind": "ssh", "host": "mine"}, file=user_file())
    add_device("pi", {"kind": "ssh", "host": "ours"}, file=PROJECT_FILE)
    assert read_devices()["pi"].file == PROJECT_FILE
    remove_device("pi")
    assert read_devices()["pi"].place == SshHost("mine")


def test_a_taken_name_is_refused_unless_replaced() -> None:
    add_device("pi", {"kind": "ssh", "host": "one"}, file=user_file())
    with pytest.raises(ConfigError, match=r"name must be a name that .*force.*; got 'pi'"):
        add_device("pi", {"kind": "ssh", "host": "two"}, file=user_file())
    add_device("pi", {"kind": "ssh", "host": "two"}, file=user_file(), replace=True)
    assert read_devices()["pi"].place == SshHost("two")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_and_write_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^name must be .*; got"):
        add_device(name, {"kind": "local"}, file=PROJECT_FILE)
    assert not PROJECT_FILE.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[devices.pi", "must be TOML"),
        ("[device.pi]", r"nas-sv2.toml must have no key but devices; got 'device'"),
        ("devices = 3", r"nas-sv2.toml: devices must be tables.*; got 3"),
        ("[devices]\npi = 3", r"devices.pi must be a table with a kind; got 3"),
        ("[devices.'a b']\nkind = 'local'", "nas-sv2.toml: devices must be .*; got 'a b'"),
        ("[devices.cpu]\nkind = 'local'", "nas-sv2.toml: devices must be .*; got 'cpu'"),
        ("[devices.pi]\nhost = 'pi'", "devices.pi.kind .*one of local, ssh, command.*; got None"),
        ("[devices.pi]\nkind = 'telnet'", "devices.pi.kind .*; got 'telnet'"),
        ("[devices.pi]\nkind = ['ssh']", "devices.pi.kind must be one of"),
        ("[devices.pi]\nkind = 'ssh'", "devices.pi.host must be given: the kind ssh"),
        ("[devices.pi]\nkind = 'ssh'\nhost = 'pi'\npassword = 'x'", "pi.password .*ssh has host"),
        ("[devices.pi]\nkind = 'ssh'\nhost = '-oX'", "devices.pi.host .*; got '-oX'"),
        ("[devices.pi]\nkind = 'ssh'\nhost = 'pi'\nport = '22'", "devices.pi.port .*; got '22'"),
        ("[devices.pi]\nkind = 'command'\ncommand = 'adb shell'", "pi.command must be a list"),
        ("[devices.pi]\nkind = 'command'\ncommand = ['adb', 'shell']", "pi.command must .*{argv}"),
        ("[devices.pi]\nkind = 'command'\ncommand = ['a', '{argv}', '{remote}']", "pi.command"),
        ("[devices.pi]\nkind = 'command'\ncommand = ['{remote}']", "pi.command"),
        ("[devices.pi]\nkind = 'emulated'\ncore = 'z80'", "devices.pi.core .*; got 'z80'"),
        ("[devices.pi]\nkind = 'emulated'\nprecision = 'int4'", "pi.precision .*got 'int4'"),
        ("[devices.pi]\nkind = 'emulated'\nclock_ghz = -1", "devices.pi.clock_ghz .*; got -1"),
        ("[devices.pi]\nkind = 'emulated'\ncore = ['z80']", "devices.pi.core must be one of"),
        ("[devices.pi]\nkind = 'emulated'\n[devices.pi.plan]\nbatch = 2", "pi.plan must be left"),
        ("[devices.pi]\nkind = 'local'\n[devices.pi.plan]\naffinity = 3", "devices.pi.plan"),
        ("[devices.pi]\nkind = 'local'\n[devices.pi.plan]\nreference = ['x']", "devices.pi."),
        ("[devices.pi]\nkind = 'local'\n[devices.pi.plan]\nthread = 4", "plan.thread must be one"),
        ("[devices.pi]\nkind = 'local'\n[devices.pi.plan]\nthreads = 0", "plan.threads .*got 0"),
        ("[devices.pi]\nkind = 'local'\nplan = 4", "devices.pi.plan .*; got 4"),
        ("[devices.pi]\nkind = 'local'\nmax_mib = 0", "devices.pi.max_mib .*; got 0"),
        ("[devices.pi]\nkind = 'local'\nmax_mib = 1e308", "devices.pi.max_mib .*; got 1e.308"),
        ("[devices.pi]\nkind = 'local'\nplan = {timeout_s = 1e308}", "timeout_s .*; got 1e.308"),
        ("[devices.pi]\nkind = 'local'\nplan = {heat_s = 86401}", "plan.heat_s .*; got 86401"),
        ("[devices.pi]\nkind = 'local'\nplan = {block_s = 1e9}", "plan.block_s .*; got 1000000"),
        ("[devices.pi]\nkind = 'local'\nplan = {reference = 'x'}", "plan.reference .*; got 'x'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_file_and_field(text: str, message: str) -> None:
    PROJECT_FILE.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_devices()
    with pytest.raises(ConfigError, match=message):
        add_device("other", {"kind": "local"}, file=PROJECT_FILE)
    assert PROJECT_FILE.read_text() == text


def test_a_device_whose_file_is_gone_hinders_no_other() -> None:
    config = Path("e.cfg")
    settings = {"kind": "ssh", "host": "pi", "ssh_config": str(config.absolute())}
    with pytest.raises(ConfigError, match="ssh_config must name a file that is there"):
        add_device("pi", settings, file=user_file())
    config.touch()
    add_device("pi", settings, file=user_file())
    config.unlink()
    add_device("other", {"kind": "local"}, file=user_file())
    with pytest.raises(DeviceError, match=r"^pi: .*e\.cfg"):
        TargetBook.read().device("pi")
    remove_device("pi")
    assert read_devices().keys() == {"other"}


def test_removing_what_is_not_there_names_what_is() -> None:
    add_device("pi", {"kind": "local"}, file=user_file())
    with pytest.raises(ConfigError, match=r"name .*that was added: pi.*; got 'po'"):
        remove_device("po")


def test_a_full_disk_leaves_the_old_file() -> None:
    """The write fails in a process that may write no file longer than the old one."""
    add_device("pi", {"kind": "local"}, file=PROJECT_FILE)
    before = PROJECT_FILE.read_bytes()
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30, 30));"
        "from nas_sv2.latency.targets.device_file import PROJECT_FILE, add_device;"
        "add_device('board', {'kind': 'ssh', 'host': 'board'}, file=PROJECT_FILE)"
    )
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"StoreError: {PROJECT_FILE}: cannot be written: File too large" in failed.stderr
    assert PROJECT_FILE.read_bytes() == before
    assert os.listdir() == [PROJECT_FILE.name]


def test_a_file_that_cannot_be_written() -> None:
    Path("taken").write_text("a file where a folder is wanted")
    with pytest.raises((StoreError, ConfigError), match="taken"):
        add_device("pi", {"kind": "local"}, file=Path("taken/devices.toml"))


def test_a_command_line_is_split_once_and_given_to_no_shell() -> None:
    words = command_words("adb -s 'a b' shell '{remote}; $(touch here)'")
    assert words == ["adb", "-s", "a b", "shell", "{remote}; $(touch here)"]
    command = CommandTemplate(tuple(words)).command("print('hi')")
    assert command[:4] == ("adb", "-s", "a b", "shell")
    assert command[4] == "python3 -u -c 'print('\"'\"'hi'\"'\"')'; $(touch here)"
    argv = CommandTemplate(("docker", "exec", "-i", "box", "{argv}")).command("print('hi')")
    assert argv == ("docker", "exec", "-i", "box", "python3", "-u", "-c", "print('hi')")
    with pytest.raises(ConfigError, match=r"command must be .*No closing quotation"):
        command_words("adb shell '")


def test_a_project_that_shadows_a_device_or_runs_a_program_says_so() -> None:
    for name in ("pi", "own"):
        add_device(name, {"kind": "ssh", "host": "mine"}, file=user_file())
    config = Path("e.cfg").absolute()
    config.write_text("")
    ours = {"kind": "ssh", "host": "ours", "ssh_config": str(config)}
    add_device("pi", ours, file=PROJECT_FILE)
    add_device("box", {"kind": "command", "command": ["env", "{argv}"]}, file=PROJECT_FILE)
    add_device("core", {"kind": "emulated"}, file=PROJECT_FILE)
    devices = read_devices()
    where = f"from nas-sv2.toml, shadows yours of {user_file()}"
    shadowing = f"pi: ssh ours, ssh_config {config}, {where}"
    assert devices["pi"].warning == shadowing
    assert devices["box"].warning.startswith("box: command env ")
    assert devices["box"].warning.endswith("from nas-sv2.toml")
    assert devices["own"].warning == devices["core"].warning == ""
    shown = {info.name: info.what for info in TargetBook.read().describe()}
    assert shown["pi"] == shadowing.removeprefix("pi: ")
    said: list[str] = []
    with contextlib.closing(TargetBook.read().device("pi", said.append, None)):
        assert said == [shadowing]
