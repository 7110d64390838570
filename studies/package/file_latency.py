"""The latencies of exported files, timed by the protocol of every latency.

All files are timed in one session, round by round with the reference network. Disturbances of the
device slow all of them, and int8 is compared with float32 by their ratio. An emulated core cannot
run a file: it prices the file's operators, and its rows say so.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.measurement import Interval, Latency, Measurement
from nas_sv2.latency.measurements.plan import OWN_DEFAULTS, MeasurePlan
from nas_sv2.latency.targets.target import Target
from nas_sv2.resolution import Resolution
from nas_sv2.space.model_files.model_file import join_ncnn
from nas_sv2.space.networks.lowering import Classifier
from nas_sv2.studies.package.forms import (
    FORMATS,
    INT8,
    INT8_OF,
    MODELS,
    TIMINGS,
    TrainedNetwork,
    format_of,
    ncnn_weights_of,
)


@dataclass(frozen=True, slots=True)
class FileLatency:
    """The latency of one file on a target.

    Attributes:
        file: Name of the file.
        target: Name of the target.
        side: Side of the file's input image, or its height and width, in pixels.
        latency: Latency; None if there is none.
        why: Reason for a missing latency, or a note that the file itself was not run; else empty.
        against: Time of an int8 file relative to the same network in float32, and its 95 %
            interval, which is None for an emulator; None if a latency is missing.
    """

    file: str
    target: str
    side: Resolution
    latency: Latency | None
    why: str = ""
    against: tuple[float, Interval | None] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        latency = None if self.latency is None else self.latency.to_json()
        return {**{name: getattr(self, name) for name in self.__slots__}, "latency": latency}

    @classmethod
    def none(cls, file: str, target: str, side: Resolution, why: str) -> Self:
        """Return a row without a latency, and the reason, which begins with the target's name."""
        return cls(file, target, side, None, why if why.startswith(target) else f"{target}: {why}")


def latencies_of(
    target: Target, winner: TrainedNetwork, files: Mapping[str, bytes]
) -> Sequence[FileLatency]:
    """Time or price each model among `files` on `target`.

    Raises:
        DeviceError: If the device is missing or unreachable or lacks its runtime.
        MeasurementError: If the device does not answer with latencies.
    """
    there = [name for name in (*MODELS, *TIMINGS) if name in files]
    sides = {name: _network(winner, name).resolution for name in there}
    if target.device is not None:
        return _measured(target.device, winner, files, sides)
    return _estimated(target, winner, sides)


def _measured(
    device: MeasuredDevice,
    winner: TrainedNetwork,
    files: Mapping[str, bytes],
    sides: Mapping[str, Resolution],
) -> Sequence[FileLatency]:
    plan, name = device.plan, device.name
    refused = {file: why for file in sides if (why := _not_run(file, device))}
    timed = [file for file in sides if file not in refused]
    float32 = dataclasses.replace(device, plan=_for_files(plan))
    payloads = [Payload(_digest(winner, file), _body(file, files)) for file in timed]
    found: dict[str, Measurement] = {}
    if timed:
        float32.device.start()
        found = dict(zip(timed, float32.measure_files(payloads), strict=True))
    rows = []
    for file, side in sides.items():
        if file in refused:
            rows.append(FileLatency.none(file, name, side, refused[file]))
            continue
        against = None
        if file in INT8:
            against = found[file].relative_to(found[INT8_OF[file]])
        latency = found[file].latency(name)
        if file in INT8:
            label = f"{name}: {_description(found[file])}"
            latency = dataclasses.replace(latency, device=label)
        rows.append(FileLatency(file, name, side, latency, against=against))
    return rows


def _for_files(plan: MeasurePlan) -> MeasurePlan:
    """Return the plan without int8, which is for models built for it; the files are built."""
    if plan.precision == "int8":
        return plan.changed(precision=OWN_DEFAULTS[plan.runtime]["precision"])
    return plan


def _body(file: str, files: Mapping[str, bytes]) -> bytes:
    """Return the content of a model, for ncnn with that of its weights."""
    if format_of(file) == "ncnn":
        return join_ncnn(files[file], files[ncnn_weights_of(file)])
    return files[file]


def _not_run(file: str, device: MeasuredDevice) -> str:
    """Return the reason why the device does not run a file; empty if it does."""
    plan, form = device.plan, format_of(file)
    if FORMATS[form] != plan.runtime:
        return f"{device.name} runs networks through {plan.runtime} alone"
    if file in INT8 and plan.processor != "cpu":
        return f"{device.name}: onnxruntime runs int8 on a CPU only"
    if form == "tflite" and plan.batch != 1:
        return f"{device.name} runs batches of {plan.batch}, and the file is for one image"
    return ""


def _description(measurement: Measurement) -> str:
    """Describe the device of an int8 file, whose reference network ran in float32."""
    return measurement.fingerprint.describe(
        dataclasses.replace(measurement.plan, precision="int8")
    )


def _estimated(
    target: Target, winner: TrainedNetwork, sides: Mapping[str, Resolution]
) -> Sequence[FileLatency]:
    rows: list[FileLatency] = []
    prices: dict[str, float] = {}
    for file, side in sides.items():
        if why := _not_priced(file, target):
            rows.append(FileLatency.none(file, target.name, side, why))
            continue
        asked = _precision_of(file, target)
        try:
            latency = target.with_plan(**asked).estimate(_network(winner, file))
        except ConfigError as error:
            cannot = f"it cannot be asked for {', '.join(asked.values())}"
            why = str(error) if target.priced_runtime else cannot
            rows.append(FileLatency.none(file, target.name, side, why))
            continue
        except (DeviceError, MeasurementError) as error:  # a kernel or precision not covered
            rows.append(FileLatency.none(file, target.name, side, str(error)))
            continue
        prices[file] = latency.ms
        float32 = prices.get(INT8_OF.get(file, ""))
        against = None if float32 is None else (latency.ms / float32, None)
        why = "priced by the operators that the file holds; it was not run"
        rows.append(FileLatency(file, target.name, side, latency, why, against))
    return rows


def _precision_of(file: str, target: Target) -> dict[str, str]:
    """Return the change of a target's precision for a file; ncnn runs float32 in its own one."""
    if file in INT8:
        return {"precision": "int8"}
    return {} if target.priced_runtime == "ncnn" else {"precision": "fp32"}


def _not_priced(file: str, target: Target) -> str:
    """Return the reason why a target that runs nothing prices no such file; empty if it may."""
    priced = target.priced_runtime
    if FORMATS[format_of(file)] == (priced or "onnxruntime"):
        return ""
    if priced is None:
        return f"{target.name} prices networks, and the operators of .onnx files alone"
    return f"{target.name} prices kernels of {priced} alone"


def _digest(winner: TrainedNetwork, file: str) -> str:
    return _network(winner, file).digest


def _network(winner: TrainedNetwork, file: str) -> Classifier:
    return winner.found if file in TIMINGS else winner.trained
