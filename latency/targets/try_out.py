"""Check step by step whether a device can measure, and time each step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nas_sv2.errors import DeviceError, MeasurementError, NasError
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.devices.local import local_device
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice
from nas_sv2.latency.devices.requirements import preflight
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.units.reference import reference

NETWORK = "shufflenet_v2_x0_5"
TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest output.

Two CPUs sum in different orders, which gives 1e-6."""


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


def check_device(
    launcher: Launcher, plan: MeasurePlan, device: ReconnectingDevice
) -> Iterator[Check]:
    """Run the checks in order, up to the first that fails.

    Args:
        launcher: Starts a python3 on the device.
        plan: The protocol of the measurements.
        device: The same device, opened.
    """
    questions: dict[str, Callable[[], str]] = {
        "python": lambda: _python(device.name, launcher, plan),
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
    said = f"{found.python}; {versions}"
    if found.advice:
        raise DeviceError(f"{said}; to do there: {found.advice}")
    return f"{said}; it runs under qemu: its times are not latencies" if found.emulated else said


def _outputs(device: ReconnectingDevice, plan: MeasurePlan) -> str:
    """Compare the outputs of the device with those of this machine."""
    payload = payload_of(reference(NETWORK), plan)
    found = device.outputs(payload, plan)
    if plan.runtime != "onnxruntime" or plan.precision != "fp32":
        # Other precisions round as the processor does, and this machine may have no GPU for torch.
        return f"{NETWORK} gives {len(found)} numbers; they are not compared with this machine's"
    with local_device("here") as here:
        expected = here.outputs(payload, MeasurePlan(batch=plan.batch, seed=plan.seed))
    if len(found) != len(expected):
        raise MeasurementError(f"{NETWORK} gives {len(found)} numbers, here {len(expected)}")
    largest = max(map(abs, expected))
    off = max(abs(there - own) for there, own in zip(found, expected, strict=True)) / largest
    text = f"{NETWORK}: {off:.1e} from this machine's onnxruntime"
    if not off <= TOLERANCE:  # also true if `off` is not a number
        raise MeasurementError(f"{text}; no more than {TOLERANCE:g} is expected")
    return text


def _measure(device: ReconnectingDevice, plan: MeasurePlan) -> str:
    """Time the network once, without its reference network."""
    (measurement,) = device.measure([payload_of(reference(NETWORK), plan)], plan)
    latency = measurement.latency(device.name)
    note = f"; {latency.note}" if latency.note else ""
    return f"{NETWORK}: {latency.ms:.3f} ms, {latency.runs} runs{note}"
