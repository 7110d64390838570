"""A real OpenSSH server on a loopback port: what works, and every way in which it does not."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SshServer

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.devices.channel import Channel
from nas_sv2.latency.devices.local import local_device
from nas_sv2.latency.devices.open_device import device_at
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice
from nas_sv2.latency.devices.ssh import SshHost, split_port
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.try_out import preflight
from nas_sv2.space.units.reference import reference

QUICK = MeasurePlan(min_runs=10, max_runs=20, warmup_runs=3, loads=1, reference=None)
WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
Connect = Callable[..., ReconnectingDevice]
NETWORK = payload_of(reference("shufflenet_v2_x0_5"), QUICK)


@pytest.fixture
def connect(server: SshServer) -> Iterator[Connect]:
    """Gives devices on the server, or on another host; waits are short."""
    opened: list[ReconnectingDevice] = []

    def connect(host: SshHost | None = None, **changes: Any) -> ReconnectingDevice:
        device = device_at("pi", host or server.host())
        opened.append(device)
        for name, value in ({"waits_s": WAITS_S} | changes).items():
            setattr(device, name, value)
        return device

    yield connect
    for device in opened:
        device.close()


def test_it_measures_there(connect: Connect, server: SshServer) -> None:
    device = connect()
    (measurement,) = device.measure([NETWORK], QUICK)
    assert measurement.architecture == NETWORK.architecture
    assert measurement.fingerprint == device.fingerprint(QUICK)
    with local_device("here") as here:
        assert device.outputs(NETWORK, QUICK) == pytest.approx(here.outputs(NETWORK, QUICK))


def test_a_login_shell_that_prints_is_understood(connect: Connect, server: SshServer) -> None:
    config = server.folder / "sshd_config"
    banner = "printf 'Gr\\374\\337e\\n\\033[2J> '; eval \"$SSH_ORIGINAL_COMMAND\""
    config.write_text(f"{config.read_text()}ForceCommand {banner}\n")
    server.restart()
    assert connect().fingerprint(QUICK).facts["runtime"] == "onnxruntime"
    assert preflight("pi", server.host(), QUICK).python.startswith("Python 3.")


def test_aliases_of_one_address_are_one_device(connect: Connect, server: SshServer) -> None:
    config = server.folder / "ssh_config"
    alias = f"Host board\n  HostName 127.0.0.1\n  Port {server.port}\n"
    config.write_text(alias + config.read_text())
    by_alias = SshHost("board", ssh_config=str(config))
    assert by_alias.key == server.host().key == f"ssh 127.0.0.1 {server.port}"
    device = connect(SshHost("board", None, sys.executable, str(config)))
    assert device.fingerprint(QUICK).facts["runtime"] == "onnxruntime"


def test_a_hostile_python_is_a_word_there(server: SshServer, tmp_path: Path) -> None:
    """Blanks, quotes, dollars and semicolons reach no shell, here or there, but as themselves."""
    folder = tmp_path / "a b; touch 'here' $(touch there) \"`touch nowhere`\""
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    found = preflight("pi", server.host(str(folder / "python")), QUICK)
    assert found.python.startswith("Python 3.")
    homes = (Path.cwd(), Path.home(), tmp_path)
    assert not any(
        (home / name).exists() for home in homes for name in ("here", "there", "nowhere")
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "-oProxyCommand=touch /tmp/x"),
        ("host", "pi; reboot"),
        ("host", "$(reboot)@pi"),
        ("host", "pi\n"),
        ("host", "pi pi"),
        ("host", "user@-oProxyCommand=x"),
        ("host", ""),
        ("host", 7),
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("port", "22"),
        ("python", "-c"),
        ("python", "~/venv/bin/python"),
        ("python", "python3\nreboot"),
        ("python", ""),
        ("ssh_config", 7),
    ],
)
def test_what_could_be_taken_for_something_else_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field} must "):
        SshHost(**{"host": "pi", field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("root@board:2299", "root@board", 2299),
        ("board:22", "board", 22),
        ("board", "board", None),
        ("root@[::1]:2299", "root@::1", 2299),
        ("[fe80::1%eth0]", "fe80::1%eth0", None),
        ("fe80::1", "fe80::1", None),
        (r"DOMAIN\user@board:22", r"DOMAIN\user@board", 22),
    ],
)
def test_a_port_behind_the_host_is_understood(text: str, host: str, port: int | None) -> None:
    assert split_port(text, None) == (host, port)
    assert split_port(text, port) == (host, port)
    assert SshHost(host, port).host == host


@pytest.mark.parametrize("text", ["board:", "board:ssh", "board:22:23", "ssh://board:22", "a:b"])
def test_a_host_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^host must .* a port has a field of its own; got"):
        SshHost(*split_port(text, None))


def test_two_ports_are_refused() -> None:
    with pytest.raises(ConfigError, match="port must be the port of board:22, or left out"):
        split_port("board:22", 23)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ((), "Host key verification failed.*key is not known here; connect once by hand.*ssh -F"),
        (("stranger",), r"is another than the one known \(Offending .*known_hosts:1\)"),
    ],
)
def test_a_host_key_is_never_accepted_silently(
    connect: Connect, server: SshServer, known: tuple[str, ...], message: str
) -> None:
    server.know(*known)
    before = (server.folder / "known_hosts").read_text()
    device = connect()
    with pytest.raises(DeviceError, match=f"pi: .*{message}"):
        device.fingerprint(QUICK)
    assert (server.folder / "known_hosts").read_text() == before


def test_a_key_that_is_not_accepted(connect: Connect, server: SshServer) -> None:
    (server.folder / "authorized").write_text("")
    with pytest.raises(DeviceError, match=r"Permission denied.*takes no key of yours.*try ssh -F"):
        connect().fingerprint(QUICK)


def test_an_unreachable_host_is_said_at_once(connect: Connect, server: SshServer) -> None:
    server.kill()
    began = time.monotonic()
    with pytest.raises(DeviceError, match=r"pi: .*Connection refused; the agent did not start"):
        connect(waits_s=(60.0,)).fingerprint(QUICK)
    assert time.monotonic() - began < 5


def test_an_unknown_host(connect: Connect) -> None:
    with pytest.raises(DeviceError, match=r"Could not resolve hostname no\.such\.host\.invalid"):
        connect(SshHost("no.such.host.invalid")).fingerprint(QUICK)


def test_a_missing_python_says_what_to_do(server: SshServer) -> None:
    with pytest.raises(DeviceError, match=r"code 127: .*not found; install python3 3.8 or later"):
        preflight("pi", server.host("no-such-python"), QUICK)


def test_a_missing_runtime_comes_with_the_command_that_installs_it(
    server: SshServer, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    found = preflight("pi", server.host(f"{bare}/bin/python"), QUICK)
    assert found.packages == {"numpy": None, "onnxruntime": None}
    assert found.advice.startswith(f"{bare}/bin/python -m venv nas-sv2-venv && nas-sv2-venv/bin/")
    assert (
        "pip install numpy onnxruntime, then give the device python nas-sv2-venv" in found.advice
    )
    site = next((bare / "lib").glob("python3*/site-packages"))
    (site / "pip-1.dist-info").mkdir()
    (site / "pip-1.dist-info" / "METADATA").write_text("Name: pip\nVersion: 1\n")
    advice = preflight("pi", server.host(f"{bare}/bin/python"), QUICK).advice
    assert advice == f"{bare}/bin/python -m pip install numpy onnxruntime"


def test_a_restarted_server_is_waited_for(connect: Connect, server: SshServer) -> None:
    said: list[str] = []
    device = connect(notify=said.append)
    device.measure([NETWORK], QUICK)
    server.kill()
    timer = threading.Timer(0.5, server.start)
    timer.start()
    (measurement,) = device.measure([NETWORK], QUICK)
    timer.join()
    assert measurement.runs >= 10
    assert any("Connection refused" in line and "trying again in" in line for line in said)


def test_a_server_killed_while_measuring_costs_no_measurement(
    connect: Connect, server: SshServer
) -> None:
    said: list[str] = []
    device = connect(notify=said.append)
    device.fingerprint(QUICK)
    slow = MeasurePlan(min_runs=200, max_runs=201, loads=1, time_limit_s=60, reference=None)
    ends = threading.Timer(0.3, server.restart)
    ends.start()
    (measurement,) = device.measure([NETWORK], slow)
    ends.join()
    assert measurement.runs >= 200
    assert "starting it again" in said[0]


def test_a_server_that_stays_away_ends_in_bounded_time(
    connect: Connect, server: SshServer
) -> None:
    device = connect(waits_s=(0.1, 0.1))
    device.fingerprint(QUICK)
    device.close()
    server.kill()
    began = time.monotonic()
    with pytest.raises(DeviceError, match="Connection refused"):
        device.measure([NETWORK], QUICK)
    assert time.monotonic() - began < 5


# Greets, tells a fingerprint, and dies of every network.
FRAGILE = {
    **{"cpu": "fragile", "runtime": "onnxruntime", "runtime_version": "1.32.0"},
    **{"precision": "fp32", "threads": 1},
}
DEADLY = f"""
import json, os, sys
stdin = sys.stdin.buffer
for _ in range(int(stdin.readline())):
    stdin.read(int(stdin.readline()))
print('{{"agent": "2"}}', flush=True)
while True:
    if json.loads(stdin.readline())["op"] == "measure":
        os.write(2, b"Bus error")
        os._exit(135)
    print(json.dumps({{"fingerprint": {FRAGILE}}}), flush=True)
"""


def test_a_network_that_kills_the_agent_fails_with_the_devices_words(
    connect: Connect, server: SshServer, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{DEADLY}")
    python.chmod(0o755)
    device = connect(server.host(str(python)))
    assert device.fingerprint(QUICK).facts == FRAGILE
    with pytest.raises(MeasurementError, match=r"pi: .*code 135: Bus error; 3 times in a row"):
        device.measure([NETWORK], QUICK)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends it; elsewhere the end of stdin")
def test_what_hangs_there_is_gone_when_it_is_ended_here(server: SshServer) -> None:
    code = "import os,time;print('{\"pid\": %d}' % os.getpid(), flush=True);time.sleep(600)"
    channel = Channel.open("pi", server.host().command(code))
    process = Path(f"/proc/{channel.receive(time.monotonic() + 10)['pid']}")
    assert process.exists()
    channel.kill()
    ends = time.monotonic() + 5
    while process.exists() and time.monotonic() < ends:
        time.sleep(0.02)
    assert not process.exists()


def test_a_network_over_the_limit_is_not_sent(connect: Connect, server: SshServer) -> None:
    device, log = connect(max_bytes=1 << 20), server.folder / "sshd.log"
    before = log.read_text()
    with pytest.raises(MeasurementError, match=r"pi: .* has 5\.\d+ MiB; the limit is 1 MiB"):
        device.measure([NETWORK], QUICK)
    assert log.read_text() == before
