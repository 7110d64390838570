"""What a device has and lacks, told by a few lines of Python that are started as the agent is."""

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
# Imports nothing heavy: a package that is there but broken says so when the agent imports it.
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
    """What was found.

    Attributes:
        python: Version, program, machine and system in a line.
        packages: The versions of the packages that are needed; None where one is missing.
        advice: How to install what is missing, as commands to run there; empty if nothing is.
        emulated: Whether the python runs under qemu, so that its times are no latencies.
    """

    python: str
    packages: Mapping[str, str | None]
    advice: str
    emulated: bool


def preflight(name: str, launcher: Launcher, plan: MeasurePlan) -> Preflight:
    """Look at the python3 that `launcher` starts.

    Args:
        name: Of the device, for errors.
        launcher: How.
        plan: What it has to be able to run.

    Raises:
        DeviceError: There is none, or it does not answer; with its own words and what to do.
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
    """The commands that install what is missing into this very Python, or one made from it."""
    python = answer["executable"]
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return f"name a python3 from {oldest} on with --python, or install one"
    if not missing:
        return ""
    names = " ".join(missing)
    if answer["pip"] and not answer["managed"]:
        return f"{python} -m pip install {names}"
    return (
        f"{python} -m venv nas-sv2-venv && nas-sv2-venv/bin/pip install {names}, then --python "
        "nas-sv2-venv/bin/python (on Debian and Ubuntu venv comes with "
        "sudo apt-get install python3-venv)"
    )
