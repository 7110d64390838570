"""Control groups of version 1 and 2, nested, in containers and without; and a weak supply."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas_sv2.latency.agent import host_facts

V2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
V1 = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_SET = "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"
System = Callable[[dict[str, str]], None]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """Replaces the files of the system that the agent reads."""

    def system(files: dict[str, str]) -> None:
        monkeypatch.setattr(host_facts, "read", files.get)

    return system


def limited(folder: str, quota: str, period: str = "100000") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


QUOTAS: dict[str, tuple[dict[str, str], float | None]] = {
    "no control groups": ({}, None),
    "version 2, no limit": (
        {
            "/proc/self/cgroup": "0::/user.slice",
            "/proc/self/mountinfo": V2,
            "/sys/fs/cgroup/user.slice/cpu.max": "max 100000",
        },
        None,
    ),
    "version 2, docker": (
        {
            "/proc/self/cgroup": "0::/",
            "/proc/self/mountinfo": V2,
            "/sys/fs/cgroup/cpu.max": "50000 100000",
        },
        0.5,
    ),
    "version 2, the tightest of nested groups": (
        {
            "/proc/self/cgroup": "0::/a/b/c",
            "/proc/self/mountinfo": V2,
            "/sys/fs/cgroup/a/cpu.max": "150000 100000",
            "/sys/fs/cgroup/a/b/cpu.max": "400000 100000",
            "/sys/fs/cgroup/a/b/c/cpu.max": "max 100000",
        },
        1.5,
    ),
    "version 2 without the default period": (
        {
            "/proc/self/cgroup": "0::/",
            "/proc/self/mountinfo": V2,
            "/sys/fs/cgroup/cpu.max": "20000 10000",
        },
        2.0,
    ),
    "version 1, no limit": (
        {
            "/proc/self/cgroup": "4:cpu,cpuacct:/a",
            "/proc/self/mountinfo": V1,
            **limited("/sys/fs/cgroup/cpu,cpuacct/a", "-1"),
        },
        None,
    ),
    "version 1, Kubernetes": (
        {
            "/proc/self/cgroup": "5:cpuset:/x\n4:cpu,cpuacct:/kubepods/pod1/abc\n0::/",
            "/proc/self/mountinfo": f"{V1_SET}\n{V1}\n{V2}",
            **limited("/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1", "25000"),
            **limited("/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/abc", "-1"),
        },
        0.25,
    ),
    "version 1, a container that sees its own part": (
        {
            "/proc/self/cgroup": "4:cpu,cpuacct:/docker/abc/inner",
            "/proc/self/mountinfo": V1.replace("0:30 / ", "0:30 /docker/abc "),
            **limited("/sys/fs/cgroup/cpu,cpuacct", "75000"),
        },
        0.75,
    ),
    "a group that the mount does not show": (
        {
            "/proc/self/cgroup": "4:cpu,cpuacct:/elsewhere",
            "/proc/self/mountinfo": V1.replace("0:30 / ", "0:30 /docker/abc "),
            **limited("/sys/fs/cgroup/cpu,cpuacct", "75000"),
        },
        0.75,
    ),
    "files that hold something else": (
        {
            "/proc/self/cgroup": "garbage\n0::/",
            "/proc/self/mountinfo": f"garbage\n\n - \n{V2}",
            "/sys/fs/cgroup/cpu.max": "lots of",
        },
        None,
    ),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_the_cpu_quota(system: System, name: str) -> None:
    files, quota = QUOTAS[name]
    system(files)
    assert host_facts.cpu_quota() == quota
    assert host_facts.machine_facts().get("cpu_quota", "none") == (quota or "none")


def test_the_periods_of_the_quota_are_counted(system: System) -> None:
    files, _ = QUOTAS["version 2, docker"]
    stat = "usage_usec 5\nnr_periods 105\nnr_throttled 98\nthrottled_usec 1"
    system({**files, "/sys/fs/cgroup/cpu.stat": stat})
    state = host_facts.conditions(0.0, gpu=False)
    assert (state["quota_periods"], state["quota_throttled"]) == (105, 98)
    system({**files, "/sys/fs/cgroup/cpu.stat": "nr_periods 0\nnr_throttled 0"})
    assert "quota_periods" not in host_facts.conditions(0.0, gpu=False)


@pytest.mark.parametrize(("quota", "threads"), [("50000", 1), ("150000", 2), ("1600000", None)])
def test_a_quota_limits_the_threads(system: System, quota: str, threads: int | None) -> None:
    files, _ = QUOTAS["version 2, docker"]
    system({**files, "/sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    cores = len(host_facts.affinity() or ()) or os.cpu_count()
    assert cores is not None
    assert host_facts.usable_cores()[0] == (cores if threads is None else min(threads, cores))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be pinned here")
def test_android_can_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "android")  # since Python 3.13
    assert host_facts.affinity() == sorted(os.sched_getaffinity(0))


def test_the_voltage_of_a_newer_raspberry_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, name in enumerate(("cpu_thermal", "rpi_volt")):
        folder = tmp_path / f"hwmon{number}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "in0_lcrit_alarm").write_text("1\n")
    alarms = str(tmp_path / "hwmon*/in0_lcrit_alarm")
    monkeypatch.setattr(host_facts, "RASPBERRY_UNDER_VOLTAGE", alarms)
    assert host_facts.conditions(0.0, gpu=False)["under_voltage"] == 1
    (tmp_path / "hwmon1/name").write_text("other\n")
    assert "under_voltage" not in host_facts.conditions(0.0, gpu=False)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A driver of CUDA with this GPU, or with none."""

    def driver(name: bytes, bus: bytes, fails: int = 0) -> None:
        def write(text: bytes) -> Callable[[Any, int, Any], int]:
            def write_to(buffer: Any, length: int, gpu: Any) -> int:
                assert length > len(text)
                buffer.value = text
                return 0

            return write_to

        library = SimpleNamespace(
            cuInit=lambda flags: fails,
            cuDeviceGet=lambda gpu, number: number,
            cuDeviceGetName=write(name),
            cuDeviceGetPCIBusId=write(bus),
        )
        monkeypatch.setattr(ctypes, "CDLL", {host_facts.CUDA_DRIVER: library}.__getitem__)
        host_facts.cuda_gpu.cache_clear()

    yield driver
    host_facts.cuda_gpu.cache_clear()


def test_conditions_are_those_of_the_gpu_that_cuda_uses(
    driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """nvidia-smi lists all GPUs, of which the first may be busy with the work of another."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\ncase "$*" in\n*--id=0000:3b:00.0) echo "1980, 2619, 41, 0x1" ;;\n'
        '*) echo "300, 300, 90, 0x8" ;;\nesac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    driver(b"NVIDIA H200", b"0000:3b:00.0")
    state = host_facts.conditions(0.0, gpu=True)
    assert (state["gpu_mhz"], state["gpu_celsius"], state["gpu_throttled"]) == (1980, 41, "0x1")
    driver(b"", b"", fails=100)  # no GPU
    assert host_facts.cuda_gpu() is None
    assert host_facts.conditions(0.0, gpu=True)["gpu_mhz"] == 300


def test_a_machine_without_cuda_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_facts, "CUDA_DRIVER", "libcuda-of-nobody.so")
    host_facts.cuda_gpu.cache_clear()
    assert host_facts.cuda_gpu() is None
