"""Facts about the measuring machine, and its conditions during a measurement.

Facts that never change while the machine runs belong to the fingerprint. Clocks, temperature,
load and stolen time are conditions, read before, during and after. Values that the system does
not show are left out. The text is sent with the agent: Python 3.8, the standard library only.
"""

from __future__ import annotations

import glob
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Json = dict[str, Any]

CPU = "/sys/devices/system/cpu/cpu%d/"
RASPBERRY_THROTTLED = "/sys/devices/platform/soc/soc:firmware/get_throttled"
GPU_QUERY = {
    "gpu_mhz": "clocks.sm",
    "gpu_memory_mhz": "clocks.mem",
    "gpu_celsius": "temperature.gpu",
    "gpu_throttled": "clocks_throttle_reasons.active",
}


def machine_facts() -> Json:
    """Return the facts of the machine that comparable measurements share."""
    cores = affinity()
    first = cores[0] if cores else 0
    facts = {
        "machine": platform.machine(),
        "emulator": _emulator(),
        "cpu": cpu_name(cores),
        "cores": os.cpu_count(),
        "affinity": cores,
        "system": platform.system() + " " + platform.release(),
        "governor": read(CPU % first + "cpufreq/scaling_governor"),
        "max_khz": read(CPU % first + "cpufreq/cpuinfo_max_freq"),
        "python": platform.python_version(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _emulator() -> str | None:
    """Return the program that emulates this processor; qemu-user shows in the process name."""
    name = read("/proc/self/comm") or ""
    return name if name.startswith("qemu-") else None


def cpu_name(cores: list[int] | None) -> str:
    """Return the model name; on ARM, which has none in Linux, the board and kinds of cores."""
    kinds: dict[int, str] = {}
    core, implementer = 0, ""
    for line in (read("/proc/cpuinfo") or "").splitlines():
        field, _, value = (part.strip() for part in line.partition(":"))
        if field == "model name":
            return value
        if field == "processor" and value.isdigit():
            core = int(value)
        if field == "CPU implementer":
            implementer = value
        if field == "CPU part":
            kinds[core] = implementer + "/" + value
    board = (read("/proc/device-tree/model") or "").strip("\0")
    used = [kind for core, kind in sorted(kinds.items()) if cores is None or core in cores]
    names = " + ".join(dict.fromkeys(used))
    return " ".join(filter(None, (board, names))) or platform.processor() or platform.machine()


def affinity() -> list[int] | None:
    """Return the cores that this process may use; None outside Linux."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else None


def read(path: str) -> str | None:
    """Return the text of a small file, or None if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def runnable() -> int:
    """Count the runnable threads of the system, this one included; 0 if unknown."""
    for line in (read("/proc/stat") or "").splitlines():
        if line.startswith("procs_running"):
            return int(line.split()[1])
    return 0


def conditions(began: float, gpu: bool) -> Json:
    """Read the machine's conditions now: clocks, temperature, throttling and load.

    Args:
        began: Start of `at_s`, by `time.perf_counter()`.
        gpu: Whether to read the GPU's clocks as well, which takes about 30 ms.
    """
    cores = affinity() or [0]
    clocks = [_number(CPU % core + "cpufreq/scaling_cur_freq") for core in cores]
    known = [clock for clock in clocks if clock is not None]
    zones = [_number(path) for path in glob.glob("/sys/class/thermal/thermal_zone*/temp")]
    warm = [zone for zone in zones if zone is not None]
    counts = [_number(CPU % core + "thermal_throttle/core_throttle_count") for core in cores]
    state = {
        "at_s": round(time.perf_counter() - began, 3),
        "khz": min(known) if known else None,
        "celsius": max(warm) / 1000 if warm else None,
        "throttle_count": sum(count for count in counts if count is not None) or None,
        "throttled": read(RASPBERRY_THROTTLED),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "runnable": runnable() or None,
        **_ticks(),
        **(_gpu_conditions() if gpu else {}),
    }
    return {name: value for name, value in state.items() if value is not None}


def _number(path: str) -> float | None:
    text = read(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _ticks() -> Json:
    """Read the ticks of all cores since the system started, and the ticks a hypervisor took."""
    fields = (read("/proc/stat") or "").split("\n", 1)[0].split()[1:9]
    if len(fields) < 8:
        return {}
    return {"ticks": sum(map(int, fields)), "stolen_ticks": int(fields[7])}


def _gpu_conditions() -> Json:
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    query = "--query-gpu=" + ",".join(GPU_QUERY.values())
    command = [program, query, "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in said.stdout.splitlines()[0].split(",")]
    return {
        name: float(value) if value.replace(".", "").isdigit() else value
        for name, value in zip(GPU_QUERY, values)  # noqa: B905  Python 3.8 has no strict
    }
