"""Find out which packages a device lacks, by a short program that starts as the agent does."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import ConnectionLost, DeviceError, MeasurementError
from nas_sv2.latency.devices.channel import Channel
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.measurements.plan import MeasurePlan

OLDEST_PYTHON = (3, 8)
TIMEOUT_S = 60.0
# It imports no package: a broken package reports its fault when the agent imports it.
PROGRAM = """
import json, os, platform, sys, sysconfig
def version(name):
    try:
        from importlib import metadata
        return metadata.version(name)
    except Exception:
        return None
def name():
    try:
        return open("/proc/self/comm").read().strip()
    except Exception:
        return ""
found = dict((package, version(package)) for package in PACKAGES)
if "onnxruntime" in found and found["onnxruntime"] is None:
    found["onnxruntime"] = version("onnxruntime-gpu")
marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
print(json.dumps({
    "python": list(sys.version_info[:3]),
    "executable": sys.executable,
    "machine": platform.machine(),
    "system": platform.system() + " " + platform.release(),
    "packages": found,
    "pip": version("pip") is not None,
    "managed": os.path.exists(marker) and sys.prefix == getattr(sys, "base_prefix", sys.prefix),
    "emulated": name().startswith("qemu-"),
}))
"""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The Python of a device and its packages.

    Attributes:
        python: Version, program, machine and system in a line.
        packages: The versions of the required packages; None for a missing package.
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
    program = f"PACKAGES = {list(_needed(plan))!r}\n{PROGRAM}"
    channel = Channel.open(name, launcher.command(f"exec({program!r})"))
    try:
        answer = channel.receive(time.monotonic() + TIMEOUT_S)
        return _read(answer)
    except MeasurementError as error:
        advice = launcher.advice(error.words) if isinstance(error, ConnectionLost) else ""
        raise DeviceError(f"{error}; {advice}" if advice else str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DeviceError(f"{name}: its answer cannot be read: {error!r}") from error
    finally:
        channel.kill()


def _needed(plan: MeasurePlan) -> Sequence[str]:
    if plan.runtime == "torch":
        return ("numpy", "torch", "nas-sv2")
    return ("numpy", "onnxruntime")


def _read(answer: Mapping[str, Any]) -> Preflight:
    version = tuple(answer["python"])
    packages: Mapping[str, str | None] = dict(answer["packages"])
    return Preflight(
        f"Python {'.'.join(map(str, version))}, {answer['executable']}, {answer['machine']}, "
        f"{answer['system']}",
        packages,
        _advice(answer, version, [name for name, found in packages.items() if found is None]),
        bool(answer["emulated"]),
    )


def _advice(answer: Mapping[str, Any], version: tuple[int, ...], missing: Sequence[str]) -> str:
    """Return commands that install the missing packages into this Python or a venv of it."""
    python = answer["executable"]
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return f"install python3 {oldest} or later there, and give its path as python"
    if not missing:
        return ""
    names = " ".join(missing)
    if answer["pip"] and not answer["managed"]:
        return f"{python} -m pip install {names}"
    return (
        f"{python} -m venv nas-sv2-venv && nas-sv2-venv/bin/pip install {names}, then give the "
        "device python nas-sv2-venv/bin/python (on Debian and Ubuntu venv comes with "
        "sudo apt-get install python3-venv)"
    )
