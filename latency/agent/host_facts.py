"""Facts about the measuring machine, and its conditions during a measurement.

Facts that never change while the machine runs belong to the fingerprint. Clocks, temperature,
load and stolen time are conditions, read before, during and after. Values that the system does
not show are left out. The text is sent with the agent: Python 3.8, the standard library only.
"""

from __future__ import annotations

import functools
import glob
import math
import os
import platform
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Json = dict[str, Any]

CPU = "/sys/devices/system/cpu/cpu%d/"
RASPBERRY_THROTTLED = "/sys/devices/platform/soc/soc:firmware/get_throttled"
RASPBERRY_UNDER_VOLTAGE = "/sys/class/hwmon/hwmon*/in0_lcrit_alarm"  # kernels without the above
CUDA_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
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
        "cpu_quota": cpu_quota(),
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


@functools.lru_cache(maxsize=1)  # Python 3.8 has no functools.cache
def cuda_gpu() -> tuple[str, str] | None:
    """Return name and bus address of CUDA's first GPU; None without a driver or a GPU.

    The driver counts as runtimes do, by CUDA_VISIBLE_DEVICES; nvidia-smi counts all GPUs.
    """
    try:
        import ctypes  # some small builds of Python lack it

        cuda = ctypes.CDLL(CUDA_DRIVER)
    except (ImportError, OSError):
        return None
    gpu, name, bus = (
        ctypes.c_int(),
        ctypes.create_string_buffer(256),
        ctypes.create_string_buffer(32),
    )
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(gpu), 0)
        or cuda.cuDeviceGetName(name, len(name), gpu)
        or cuda.cuDeviceGetPCIBusId(bus, len(bus), gpu)
    )
    return None if failed else (name.value.decode(), bus.value.decode())


def cuda_facts() -> Json:
    """Return the facts of the GPU that measurements with CUDA share."""
    gpu, driver = cuda_gpu(), read("/proc/driver/nvidia/version")
    return {
        "gpu": gpu[0] if gpu else "a GPU without a name",
        "driver": driver.partition("\n")[0] if driver else None,
    }


def affinity() -> list[int] | None:
    """Return the cores that this process may use; None if the system does not pin threads.

    Linux and Android pin; Python calls the latter another platform since 3.13.
    """
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def usable_cores() -> tuple[float, str]:
    """Return how many threads can run at once, and the reason."""
    cores, quota = affinity(), cpu_quota()
    count = os.cpu_count() or math.inf if cores is None else len(cores)
    if quota is not None and quota < count:
        return math.ceil(quota), f"its CPU quota is {quota:g} cores"
    return count, f"{count} cores" if cores is None else f"the cores {cores}"


def cpu_quota() -> float | None:
    """Return how many cores' time the control groups allow this process; None for no limit.

    Containers and systemd set it: docker --cpus, Kubernetes limits.cpu, CPUQuota.
    """
    quotas = []
    for folder in _cpu_groups():
        words = (read(folder + "/cpu.max") or "").split()  # version 2: quota and period, in µs
        if not words:
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [read(os.path.join(folder, file)) or "" for file in files]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
            quotas.append(round(int(words[0]) / int(words[1]), 4))
    return min(quotas, default=None)


def _cpu_groups() -> list[str]:
    """Return the folders of the control groups that limit this process, the innermost first.

    `/proc/self/cgroup` names the group, and `/proc/self/mountinfo` the folder of the hierarchy. A
    container sees a part of the hierarchy, whose top is the root of the mount.
    """
    groups = [line.split(":", 2) for line in (read("/proc/self/cgroup") or "").splitlines()]
    folders = []
    for line in (read("/proc/self/mountinfo") or "").splitlines():
        mount, _, system = (part.split() for part in line.partition(" - "))
        kind, options = system[:1], system[-1:] or [""]
        if kind not in (["cgroup"], ["cgroup2"]) or len(mount) < 5:
            continue
        if kind == ["cgroup"] and "cpu" not in options[0].split(","):
            continue
        top, where = mount[3].rstrip("/"), mount[4]
        for number, controllers, path in (group for group in groups if len(group) == 3):
            of_cpu = "cpu" in controllers.split(",")
            if of_cpu if kind == ["cgroup"] else number == "0":
                inside = path[len(top) :] if (path + "/").startswith(top + "/") else ""
                folders += _upwards(where, inside.strip("/"))
    return list(dict.fromkeys(folders))


def _upwards(top: str, inside: str) -> list[str]:
    """Return the folder `top/inside` and the folders above it, up to `top`."""
    parts = inside.split("/") if inside else []
    return ["/".join([top, *parts[:count]]) for count in range(len(parts), -1, -1)]


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
        "under_voltage": _under_voltage(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "runnable": runnable() or None,
        **_ticks(),
        **_quota_periods(),
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


def _under_voltage() -> float | None:
    """Return 1 if a Raspberry Pi reports that its supply is too weak; None if it cannot say."""
    for alarm in glob.glob(RASPBERRY_UNDER_VOLTAGE):
        if read(os.path.dirname(alarm) + "/name") == "rpi_volt":
            return _number(alarm)
    return None


def _quota_periods() -> Json:
    """Read the periods of the CPU quota so far, and those in which the quota was used up."""
    found: dict[str, int] = {}
    for folder in _cpu_groups():
        for line in (read(folder + "/cpu.stat") or "").splitlines():
            name, _, count = line.partition(" ")
            if name in ("nr_periods", "nr_throttled") and count.isdigit():
                found[name] = found.get(name, 0) + int(count)
    if not found.get("nr_periods"):
        return {}
    return {
        "quota_periods": found["nr_periods"],
        "quota_throttled": found.get("nr_throttled", 0),
    }


def _gpu_conditions() -> Json:
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    query = "--query-gpu=" + ",".join(GPU_QUERY.values())
    command = [program, query, "--format=csv,noheader,nounits"]
    used = cuda_gpu()
    if used is not None:  # else its first, which is another one if CUDA_VISIBLE_DEVICES is set
        command.append("--id=" + used[1])
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in said.stdout.partition("\n")[0].split(",")]
    return {
        name: float(value) if value.replace(".", "").isdigit() else value
        for name, value in zip(GPU_QUERY, values)  # noqa: B905  Python 3.8 has no strict
    }
