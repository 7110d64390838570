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
ARM_MACHINES = ("aarch64", "arm64")  # the names of 64-bit ARM on Linux and on macOS
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg", "/dev/kfd")
"""One of these files exists if a GPU driver is loaded.

They belong to NVIDIA desktop, two kinds of Jetson, Windows' Linux and AMD. Looking for them
avoids the seconds that importing torch takes."""


@dataclass(frozen=True, slots=True)
class LocalPython:
    """A python3 of this machine.

    Attributes:
        python: The name or path of the python3; by default the interpreter of this process.

    Raises:
        ConfigError: `python` cannot be the name of a program.
    """

    python: str = sys.executable

    def __post_init__(self) -> None:
        """Check the name of the program."""
        check_python(self.python)

    @property
    def key(self) -> str:
        """The machine: its CPU and GPU share memory, power and heat."""
        return f"local {socket.gethostname()}"

    def command(self, code: str) -> tuple[str, ...]:
        """Return the interpreter with its arguments."""
        return python_arguments(self.python, code)

    def advice(self, words: str) -> str:
        """Return an empty string: the interpreter's own words say enough."""
        return ""


def local_device(name: str) -> AgentDevice:
    """Return this machine as a device, with the interpreter and packages of this process."""
    return AgentDevice(name, agent_command(sys.executable))


def is_arm() -> bool:
    """Return whether this machine is a 64-bit ARM."""
    return platform.machine() in ARM_MACHINES


def has_gpu_driver() -> bool:
    """Return whether a GPU driver is loaded; torch may still be unable to use it."""
    return any(Path(path).exists() for path in GPU_DRIVERS)
