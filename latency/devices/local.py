"""This machine as a device: the agent in a child process, on the CPU or on a GPU."""

import platform
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.latency.devices.device import AgentDevice, agent_command
from nas_sv2.latency.devices.launcher import check_python, python_arguments
from nas_sv2.latency.measurements.plan import MeasurePlan

CPU_PLAN = MeasurePlan()
"""One thread, batch 1, as the paper measures on ARM (section 4)."""
GPU_PLAN = MeasurePlan(
    runtime="torch",
    processor="cuda",
    batch=8,
    lowering="plain",
    loads=1,
    min_runs=100,
    max_runs=100,
    timeout_s=300.0,
)
"""The paper's protocol on a GPU (section 4): batch 8, cuDNN benchmark mode, 100 runs.

The longer timeout is for cuDNN, which times its kernels in the first run of every shape.
"""
ARM_MACHINES = ("aarch64", "arm64")  # the same, as Linux and as macOS call it
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg", "/dev/kfd")
"""One of these exists where a GPU driver is loaded: NVIDIA desktop, two kinds of Jetson, Windows'
Linux, AMD. Looked at to answer `devices` without the seconds that importing torch takes."""


@dataclass(frozen=True, slots=True)
class LocalPython:
    """A python3 of this machine.

    Attributes:
        python: Its name or path; by default the interpreter of this process.

    Raises:
        ConfigError: It cannot be the name of a program.
    """

    python: str = sys.executable

    def __post_init__(self) -> None:
        """Refuse what is no program."""
        check_python(self.python)

    @property
    def key(self) -> str:
        """The machine: its CPU and GPU share memory, power and heat."""
        return f"local {socket.gethostname()}"

    def command(self, code: str) -> tuple[str, ...]:
        """The interpreter with its arguments."""
        return python_arguments(self.python, code)

    def advice(self, words: str) -> str:
        """Nothing: the words are the interpreter's own."""
        return ""


def local_device(name: str) -> AgentDevice:
    """This machine, under the interpreter and packages of this process."""
    return AgentDevice(name, agent_command(sys.executable))


def is_arm() -> bool:
    """Whether this machine is a 64-bit ARM."""
    return platform.machine() in ARM_MACHINES


def has_gpu_driver() -> bool:
    """Whether a GPU driver is loaded; torch may still not be able to use it."""
    return any(Path(path).exists() for path in GPU_DRIVERS)
