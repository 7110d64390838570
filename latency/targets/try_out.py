"""Check step by step whether a device can measure, and time each step."""

import dataclasses
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import msgspec
from msgspec import Meta

from nas_sv2.errors import ConnectionLost, DeviceError, MeasurementError, NasError
from nas_sv2.latency.devices.channel import Channel
from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.devices.local import local_device
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice
from nas_sv2.latency.measurements.measurement_check import convert
from nas_sv2.latency.measurements.plan import PACKAGES, MeasurePlan
from nas_sv2.plain_data import printable
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.reference import reference

NETWORK = "shufflenet_v2_x0_5"
TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest output.

Two CPUs sum in different orders, which gives 1e-6."""
WITH_OPTIONS = Architecture(
    stem=(16,),
    stages=(
        Stage(depth=4, width=44, residual=True),
        Stage(depth=3, width=100, split=Fraction(3, 4), se=True, residual=True),
    ),
    head=128,
    resolution=64,
    classes=10,
)
"""A network whose 1×1 convolutions have widths that fill no block of a runtime's kernels."""

OLDEST_PYTHON = (3, 8)
TIMEOUT_S = 60.0
Version = Annotated[int, Meta(ge=0, le=999)]
LONGEST_WORD = 300
Word = Annotated[str, Meta(max_length=LONGEST_WORD)]
"""A word of a device: a path, a version, or the name of a machine."""
# It imports no package: a broken package reports its fault when the agent imports it.
PROGRAM = """
import json, os, platform, sys, sysconfig
def version(name):
    try:
        from importlib import metadata
    except ImportError:
        return None
    try:
        return metadata.version(name)
    except Exception:
        pass
    for wheel in metadata.distributions(): # onnxruntime-gpu and others hold onnxruntime
        try:
            files = [str(file) for file in wheel.files or ()]
        except Exception: # a damaged wheel hides no other
            continue
        if name.replace("-", "_") + "/__init__.py" in files:
            return "%s (%s)" % (wheel.version, wheel.metadata["Name"])
def name():
    try:
        return open("/proc/self/comm").read().strip()
    except Exception:
        return ""
found = dict((package, version(package)) for package in PACKAGES)
marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
rest = json.dumps({
    "executable": sys.executable,
    "machine": platform.machine(),
    "system": platform.system() + " " + platform.release(),
    "packages": found,
    "pip": version("pip") is not None,
    "managed": os.path.exists(marker) and sys.prefix == getattr(sys, "base_prefix", sys.prefix),
    "emulated": name().startswith("qemu-"),
})
print('{"python": %s, %s' % (json.dumps(list(sys.version_info[:3])), rest[1:]))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: The name of the check.
        passed: Whether the device passed.
        seconds: The duration of the check, in seconds.
        text: The answer; after a failure, the reason and the remedy.
    """

    name: str
    passed: bool
    seconds: float
    text: str


def check_device(device: ReconnectingDevice, plan: MeasurePlan) -> Iterator[Check]:
    """Run the checks in order, up to the first that fails."""
    questions: dict[str, Callable[[], str]] = {
        "python": lambda: _python(device.name, device.launcher, plan),
        "agent": lambda: device.fingerprint(plan).describe(plan),
        "outputs": lambda: _outputs(device, plan),
        "measure": lambda: _measure(device, plan),
    }
    for name, ask in questions.items():
        began = time.perf_counter()
        try:
            text, passed = ask(), True
        except NasError as error:
            text, passed = str(error), False
        yield Check(name, passed, time.perf_counter() - began, text)
        if not passed:
            return


def _python(name: str, launcher: Launcher, plan: MeasurePlan) -> str:
    found = preflight(name, launcher, plan)
    versions = ", ".join(f"{package} {v or 'missing'}" for package, v in found.packages.items())
    said = "; ".join(filter(None, [found.python, versions]))
    if found.advice:
        raise DeviceError(f"{said}; to do there: {found.advice}")
    return f"{said}; it runs under qemu: its times are not latencies" if found.emulated else said


def _outputs(device: ReconnectingDevice, plan: MeasurePlan) -> str:
    """Compare the outputs of the device with those of this machine, also for several images."""
    if plan.runtime == "ncnn" and plan.precision == "fp16":
        plan = plan.changed(precision="fp32")  # half precision rounds, and hides what is wrong
    if plan.runtime == "torch" or plan.precision != "fp32":
        # Other precisions round as the processor does, and this machine may have no GPU for torch.
        found = device.outputs(payload_of(reference(NETWORK), plan), plan)
        return f"{NETWORK} gives {len(found)} numbers; they are not compared with this machine's"
    batch = 1 if plan.runtime == "ncnn" else max(2, plan.batch)
    several = dataclasses.replace(plan, batch=batch)
    with local_device("here") as here:
        off = _difference(device, here, reference(NETWORK), plan)
        said = f"{NETWORK}: {off:.1e} from this machine's onnxruntime"
        try:
            off = _difference(device, here, WITH_OPTIONS, several)
        except DeviceError as error:
            if plan.batch > 1:
                raise
            return f"{said}; not with batch {batch}: {error}"
    return f"{said}; with split 3/4, SE, residual and batch {batch}: {off:.1e}"


def _difference(
    device: ReconnectingDevice, here: AgentDevice, network: Architecture, plan: MeasurePlan
) -> float:
    """Return the largest difference of the outputs, relative to the largest output.

    Raises:
        DeviceError: The device cannot run the plan.
        MeasurementError: The outputs differ by more than `TOLERANCE`.
    """
    found = device.outputs(payload_of(network, plan), plan)
    known = MeasurePlan(batch=plan.batch, seed=plan.seed)
    expected = here.outputs(payload_of(network, known), known)
    if len(found) != len(expected):
        raise MeasurementError(f"the network gives {len(found)} numbers, here {len(expected)}")
    largest = max(map(abs, expected))
    off = max(abs(there - own) for there, own in zip(found, expected, strict=True)) / largest
    if not off <= TOLERANCE:  # also true if `off` is not a number
        raise MeasurementError(
            f"with batch {plan.batch} the outputs of the device are wrong: {off:.1e} from this "
            f"machine's onnxruntime, and no more than {TOLERANCE:g} is expected"
        )
    return off


def _measure(device: ReconnectingDevice, plan: MeasurePlan) -> str:
    """Time the network once, without its reference network."""
    (measurement,) = device.measure([payload_of(reference(NETWORK), plan)], plan)
    latency = measurement.latency(device.name)
    note = f"; {latency.note}" if latency.note else ""
    return f"{NETWORK}: {latency.ms:.3f} ms, {latency.runs} runs{note}"


@dataclass(frozen=True, slots=True)
class Preflight:
    """The Python of a device and its packages.

    Attributes:
        python: Version, program, machine and system in a line.
        packages: The versions of the required packages; None for a missing package. It is empty
            if the Python is too old.
        advice: Commands to run there that install the missing packages; empty if none is missing.
        emulated: Whether the python runs under qemu, so that its times are not latencies.
    """

    python: str
    packages: Mapping[str, str | None]
    advice: str
    emulated: bool


def preflight(name: str, launcher: Launcher, plan: MeasurePlan) -> Preflight:
    """Examine the python3 that `launcher` starts.

    Args:
        name: The name of the device, for errors.
        launcher: Starts the python3.
        plan: The plan whose packages are required.

    Raises:
        DeviceError: The python3 is missing or does not answer; the error gives a remedy if one
            is known.
    """
    program = f"PACKAGES = {list(PACKAGES[plan.runtime])!r}\n{PROGRAM}"
    channel = Channel.open(name, launcher.command(f"exec({program!r})"))
    try:
        return _read(channel.greeting("python", TIMEOUT_S), PACKAGES[plan.runtime])
    except MeasurementError as error:
        advice = launcher.advice(error.words) if isinstance(error, ConnectionLost) else ""
        raise DeviceError(f"{error}; {advice}" if advice else str(error)) from error
    except ValueError as error:
        raise DeviceError(f"{name}: its answer cannot be read: {error}") from error
    finally:
        channel.kill()


class _Answer(msgspec.Struct):
    """The answer of `PROGRAM`, which a hostile device writes as it likes."""

    python: tuple[Version, Version, Version]
    executable: Word
    machine: Word
    system: Word
    packages: dict[str, Word | None]
    pip: bool
    managed: bool
    emulated: bool


def _read(document: object, needed: Sequence[str]) -> Preflight:
    """Read the answer of `PROGRAM`.

    Raises:
        ValueError: It has another form; the error names the field.
    """
    answer = convert(document, _Answer)
    said = {name: answer.packages.get(name) for name in needed}
    packages = {name: word if word is None else printable(word) for name, word in said.items()}
    if answer.python < OLDEST_PYTHON:
        packages = {}  # it may not be able to find them
    version = ".".join(map(str, answer.python))
    words = (f"Python {version}", answer.executable, answer.machine, answer.system)
    return Preflight(
        ", ".join(map(printable, words)),
        packages,
        _advice(answer, [name for name, found in packages.items() if found is None]),
        answer.emulated,
    )


def _advice(answer: _Answer, missing: Sequence[str]) -> str:
    """Return commands that install the missing packages into this Python or a venv of it."""
    if answer.python < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return f"install python3 {oldest} or later there, and give its path as python"
    if not missing:
        return ""
    python, names = shlex.quote(printable(answer.executable)), " ".join(missing)
    if answer.pip and not answer.managed:
        return f"{python} -m pip install {names}"
    return (
        f"{python} -m venv nas-sv2-venv && nas-sv2-venv/bin/pip install {names}, then give the "
        "device python nas-sv2-venv/bin/python (on Debian and Ubuntu venv comes with "
        "sudo apt-get install python3-venv)"
    )
