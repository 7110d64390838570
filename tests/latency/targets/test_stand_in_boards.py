"""`device test` and a grade on boards that are old, limited, full, or greet with a banner.

Each board is the python3 of this machine behind a shim: `sitecustomize.py` on its PYTHONPATH makes
it look like the board. The agent is a real process, and so is the runtime that it loads.
"""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.devices.command import CommandTemplate
from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.open_device import device_at
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.doctor import examine
from nas_sv2.latency.targets.try_out import Check, check_device
from nas_sv2.space.units.reference import reference

PLAN = dataclasses.replace(
    CPU_PLAN,
    loads=1,
    warmup_runs=1,
    min_block_runs=1,
    min_runs=10,
    max_runs=20,
    time_limit_s=0.1,
    noisy_time_limit_s=0.1,
)
OLD_PYTHON = "import sys\nsys.version_info = (3, 6, 15, 'final', 0)"
# Imports the real runtime, and takes away what came later.
OLD_RUNTIME = """
import onnxruntime
onnxruntime.__version__ = "1.12.1"
del onnxruntime.get_build_info
"""
OLDER_RUNTIME = OLD_RUNTIME.replace("1.12.1", "1.11.1")
# A quota of half a core, used up in nine of ten periods.
QUOTA = """
import builtins, io, time
began, real = time.monotonic(), builtins.open
def periods():
    return 100 + int(100_000 * (time.monotonic() - began))
def stat():
    return f"nr_periods {periods()}\\nnr_throttled {9 * periods() // 10}"
FILES = {
    "/proc/self/cgroup": lambda: "0::/kubepods/pod1",
    "/proc/self/mountinfo": lambda: "30 23 0:26 / /groups rw - cgroup2 cgroup2 rw",
    "/groups/kubepods/cpu.max": lambda: "50000 100000",
    "/groups/kubepods/cpu.stat": stat,
}
def fake(file, *rest, **options):
    if file in FILES:
        return io.StringIO(FILES[file]())
    return real(file, *rest, **options)
builtins.open = fake
"""
READ_ONLY = """
import errno, tempfile
def full(*rest, **options):
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
tempfile.mkdtemp = full
"""
BANNER = "printf '\\033[32mWelcome to the board\\n12 updates can be applied\\n> '"
Board = Callable[..., ReconnectingDevice]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """Gives a device whose python3 runs a shim first, behind a shell that may print."""
    opened: list[ReconnectingDevice] = []

    def board(shim: str = "", prints: str = "true") -> ReconnectingDevice:
        (tmp_path / "sitecustomize.py").write_text(shim)
        shell = f"{prints}; PYTHONPATH={shlex.quote(str(tmp_path))} exec {{remote}}"
        launcher = CommandTemplate(("sh", "-c", shell), sys.executable)
        opened.append(device_at("board", launcher))
        return opened[-1]

    yield board
    for device in opened:
        device.close()


def checks_of(device: ReconnectingDevice, plan: MeasurePlan = PLAN) -> dict[str, Check]:
    return {check.name: check for check in check_device(device, plan)}


def graded(device: ReconnectingDevice) -> Grade:
    return examine(MeasuredDevice("board", device, PLAN), 3, 0.0)


def test_a_board_with_ncnn_is_compared_in_float32_and_measured_as_it_comes(board: Board) -> None:
    checks = checks_of(board(), PLAN.changed(runtime="ncnn", reference=None))
    assert all(check.passed for check in checks.values())
    assert "ncnn 1." in checks["python"].text and "onnxruntime" not in checks["python"].text
    assert "· fp16" in checks["agent"].text
    assert "from this machine's onnxruntime; with split 3/4" in checks["outputs"].text
    assert "batch 1" in checks["outputs"].text


def test_an_old_python(board: Board) -> None:
    device = board(OLD_PYTHON)
    (check,) = checks_of(device).values()
    assert not check.passed
    assert check.text.startswith("Python 3.6.15, ")
    assert "missing" not in check.text  # it was not asked for packages
    assert "to do there: install python3 3.8 or later there" in check.text
    with pytest.raises(DeviceError, match=r"sh ended with code 1: this is Python 3\.6, but 3\.8"):
        graded(device)


@pytest.mark.slow
def test_an_old_onnxruntime(board: Board) -> None:
    """Batch 1 is measured; several images would be wrong, so they are refused."""
    device = board(OLD_RUNTIME)
    checks = checks_of(device)
    assert all(check.passed for check in checks.values()), checks
    assert list(checks) == ["python", "agent", "outputs", "measure"]
    assert "onnxruntime 1.12.1" in checks["agent"].text
    assert "not with batch 2" in checks["outputs"].text
    assert "1.14 is the least" in checks["outputs"].text
    with pytest.raises(DeviceError, match=r"onnxruntime 1\.12\.1 is too old for batch 2"):
        device.fingerprint(dataclasses.replace(PLAN, batch=2))
    assert graded(device).sessions == 3


@pytest.mark.slow
def test_an_onnxruntime_that_reads_no_network_of_ours(board: Board) -> None:
    checks = checks_of(board(OLDER_RUNTIME))
    assert [check.passed for check in checks.values()] == [True, False]
    assert "onnxruntime 1.11.1 is too old, 1.12 is the least" in checks["agent"].text


@pytest.mark.slow
def test_a_quota(board: Board) -> None:
    device = board(QUOTA)
    assert device.fingerprint(PLAN).facts["cpu_quota"] == 0.5
    checks = checks_of(device)
    assert all(check.passed for check in checks.values()), checks
    assert "the CPU quota stopped it in 90%" in checks["measure"].text
    with pytest.raises(DeviceError, match=r"at most 1 can run at once \(its CPU quota is 0\.5"):
        device.fingerprint(dataclasses.replace(PLAN, threads=2))
    grade = graded(device)
    assert grade.grade == "poor"
    assert any("the CPU quota (0.5 cores) stopped it" in found.what for found in grade.findings)


@pytest.mark.slow
def test_a_read_only_board(board: Board) -> None:
    """It is measured; a profile needs a file, and is refused once, not tried again."""
    device = board(READ_ONLY)
    said: list[str] = []
    device.notify = said.append
    checks = checks_of(device)
    assert all(check.passed for check in checks.values()), checks
    payload = payload_of(reference("shufflenet_v2_x0_5"), PLAN)
    with pytest.raises(DeviceError, match=r"No usable temporary .*set TMPDIR there"):
        device.profile(payload, PLAN, 60.0)
    assert graded(device).sessions == 3
    assert said == []


@pytest.mark.slow
def test_a_shell_that_prints(board: Board) -> None:
    device = board(prints=BANNER)
    checks = checks_of(device)
    assert all(check.passed for check in checks.values()), checks
    assert list(checks) == ["python", "agent", "outputs", "measure"]
    assert graded(device).sessions == 3


def test_a_shell_that_prints_and_has_no_python(board: Board) -> None:
    device = board(prints=f"{BANNER}; exit 3")
    (check,) = checks_of(device).values()
    assert "sh ended with code 3: [32mWelcome to the board | 12 updates can be" in check.text


@pytest.mark.slow
def test_a_fault_of_the_agent_is_not_tried_again(board: Board) -> None:
    shim = OLD_RUNTIME.replace("1.12.1", "1.20.0") + "del onnxruntime.SessionOptions\n"
    device = board(shim)
    said: list[str] = []
    device.notify = said.append
    payload = payload_of(reference("shufflenet_v2_x0_5"), PLAN)
    with pytest.raises(
        MeasurementError, match=r"a fault of our agent.*AttributeError: .*1\.20\.0"
    ):
        device.measure([payload], PLAN)
    assert said == []
