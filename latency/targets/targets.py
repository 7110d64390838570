"""Latency targets by name: what the search and the command line ask for a figure.

A target is a device and a plan, or something that prices a network without running it. Some names
are built in, each an entry of `TARGETS`; the others are the user's (`device_file`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas_sv2.errors import ConfigError, DeviceError
from nas_sv2.latency.devices.device import Device
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN, has_gpu_driver, is_arm
from nas_sv2.latency.devices.reconnecting import SteadyDevice
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.device_file import DeviceEntry, EmulatedCore, read_devices
from nas_sv2.latency.targets.measured_target import Images, MeasuredTarget
from nas_sv2.latency.targets.open_device import Told, device_of, silent, this_machine
from nas_sv2.space.networks.network import Network

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.store import MeasurementStore


class Target(Protocol):
    """Something that says how long a network takes."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def provenance(self) -> str:
        """Where its figures come from; a `Provenance`."""

    def estimate(self, network: Network) -> Latency:
        """The latency of `network` at its own resolution.

        Raises:
            DeviceError: The device is missing, unreachable or lacks its runtime.
            MeasurementError: It answered, but not with a latency.
            StoreError: Stored measurements cannot be read or written.
        """

    def close(self) -> None:
        """Let go of devices; needed once, at the end."""


Elsewhere = Callable[[str], Device | None]
"""Gives the device of a target's name where another machine has it; None where none has."""


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """What a target is, for a table of them.

    Attributes:
        name: For `--target`.
        what: In a few words.
        provenance: Where its figures come from.
        available: Whether it can be used here and now; None where it was not asked.
        reason: Why not, and what to do; empty if it can.
    """

    name: str
    what: str
    provenance: Provenance
    available: bool | None
    reason: str = ""


def open_target(
    name: str,
    *,
    store: "MeasurementStore | None" = None,
    require_measured: bool = False,
    fresh: bool = False,
    told: Told = silent,
    images: Images | None = None,
    elsewhere: Elsewhere | None = None,
) -> Target:
    """The target of this name, ready or getting ready.

    Args:
        name: One of `TARGETS`, or a device that the user has added.
        store: Where measurements are looked up and kept, and who uses a device.
        require_measured: Refuse a target that does not run the network.
        fresh: Measure even what is stored.
        told: Is told what a device is waited for: another process, or its connection.
        images: Where int8 takes its scales from (`MeasuredTarget.images`).
        elsewhere: Where devices are; this machine's are used only if that is None.

    Raises:
        ConfigError: Unknown name, or a device that is not `elsewhere`.
        DeviceError: The target cannot be used here; never another in its place.
    """
    name, *others = target_names(name)
    if others:
        raise ConfigError("target", ",".join([name, *others]), "must be one target")
    target: Target
    if elsewhere is not None and (device := _device_elsewhere(name, elsewhere)) is not None:
        target = _asked(MeasuredTarget(name, device, _plan_of(name), store, fresh))
    elif name in TARGETS:
        target = TARGETS[name].open(store, fresh, told)
    else:
        target = _open_entry(read_devices()[name], store, fresh, told)
    if isinstance(target, MeasuredTarget):
        target = replace(target, images=images)
    if require_measured and target.provenance != "measured":
        target.close()
        raise DeviceError(
            f"{name}: its figures are {target.provenance}, and measured ones are required; "
            "run on such a device, or do without --require-measured"
        )
    return target


def device_of_target(name: str, told: Told = silent) -> SteadyDevice:
    """The device of a target on the machine that has it, which measures for another.

    Raises:
        ConfigError: This machine knows no such target, or it is one that is never measured.
        DeviceError: It cannot be said which device it is.
    """
    if name in TARGETS:
        if name == "arm" and not is_arm():
            raise ConfigError(
                "target", name, "must not be arm here: this machine is not a 64-bit ARM"
            )
        return this_machine(name, told=told)
    known = read_devices()
    if name not in known:
        allowed = (
            f"must be one of {', '.join([*TARGETS, *known])}; nas-sv2 device add names a new one"
        )
        raise ConfigError("target", name, allowed)
    return device_of(known[name], told=told)


def target_names(text: str) -> list[str]:
    """The targets in the user's words: `arm`, or several as `arm,cpu`.

    Raises:
        ConfigError: An unknown name, or one twice.
    """
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in TARGETS]:
        known = [*TARGETS, *read_devices()]
        for name in unknown:
            if name not in known:
                allowed = f"must be one of {', '.join(known)}; nas-sv2 device add names a new one"
                raise ConfigError("target", name, allowed)
    if len(set(names)) < len(names):
        raise ConfigError("target", text, "must name each target once")
    return names


def describe_targets() -> list[TargetInfo]:
    """Every target, available or not; devices of the user's are not asked."""
    builtin = [target.describe() for target in TARGETS.values()]
    return builtin + [_describe_entry(entry) for entry in read_devices().values()]


def _device_elsewhere(name: str, elsewhere: Elsewhere) -> Device | None:
    """The device of that name on another machine; None of a target that needs no device."""
    device = elsewhere(name)
    measured = is_arm() if name == "arm" else name in TARGETS or read_devices()[name].plan
    if device is None and measured:
        raise ConfigError("target", name, "must be a device that a machine of the cluster offers")
    return device


def _plan_of(name: str) -> MeasurePlan:
    plan = TARGETS[name].plan if name in TARGETS else read_devices()[name].plan
    if plan is None:
        raise ConfigError(
            "target", name, "must be a device that runs networks; this one is emulated"
        )
    return plan


@dataclass(frozen=True, slots=True)
class _Builtin:
    plan: MeasurePlan
    open: Callable[["MeasurementStore | None", bool, Told], Target]
    describe: Callable[[], TargetInfo]


def _open_cpu(store: "MeasurementStore | None", fresh: bool, told: Told) -> Target:
    return _measured(this_machine("cpu", store, told), CPU_PLAN, store, fresh)


def _open_arm(store: "MeasurementStore | None", fresh: bool, told: Told) -> Target:
    if is_arm():
        return _measured(this_machine("arm", store, told), CPU_PLAN, store, fresh)
    from nas_sv2.latency.emulated.emulated_arm import EmulatedArm

    return EmulatedArm.open()


def _open_gpu(store: "MeasurementStore | None", fresh: bool, told: Told) -> Target:
    return _asked(_measured(this_machine("gpu", store, told), GPU_PLAN, store, fresh))


def _open_entry(
    entry: DeviceEntry, store: "MeasurementStore | None", fresh: bool, told: Told
) -> Target:
    place, plan = entry.place, entry.plan
    if isinstance(place, EmulatedCore) or plan is None:
        from nas_sv2.latency.emulated.emulated_arm import EmulatedArm

        assert isinstance(place, EmulatedCore), "all others have a plan"
        file = None if place.table is None else Path(place.table)
        return EmulatedArm.open(
            place.core, place.precision, name=entry.name, file=file, clock_ghz=place.clock_ghz
        )
    return _asked(_measured(device_of(entry, store, told), plan, store, fresh))


def _measured(
    device: SteadyDevice, plan: MeasurePlan, store: "MeasurementStore | None", fresh: bool
) -> MeasuredTarget:
    device.start()  # the agent imports its runtime while we build the first network
    return MeasuredTarget(device.name, device, plan, store, fresh)


def _asked(target: MeasuredTarget) -> MeasuredTarget:
    """The same; what it lacks is said before a search begins, not in its first trial."""
    try:
        target.device.fingerprint(target.plan)
    except DeviceError:
        target.close()
        raise
    return target


def _describe_cpu() -> TargetInfo:
    return TargetInfo("cpu", "this machine, onnxruntime, 1 thread, batch 1", "measured", True)


def _describe_arm() -> TargetInfo:
    if is_arm():
        what = "this machine, a 64-bit ARM, onnxruntime, 1 thread, batch 1"
        return TargetInfo("arm", what, "measured", True)
    return TargetInfo("arm", "Cortex-A57, emulated from a table", "emulated", True)


def _describe_gpu() -> TargetInfo:
    what = "this machine's GPU, torch CUDA, batch 8"
    reason = "" if has_gpu_driver() else "no GPU driver is loaded here"
    if not reason:
        try:
            _open_gpu(None, False, silent).close()
        except DeviceError as error:
            reason = str(error)
    return TargetInfo("gpu", what, "measured", not reason, reason)


def _describe_entry(entry: DeviceEntry) -> TargetInfo:
    what = f"{entry.describe()}, from {entry.file}"
    if isinstance(entry.place, EmulatedCore):
        return TargetInfo(entry.name, what, "emulated", True)
    reason = f"not asked; nas-sv2 device test {entry.name}"
    return TargetInfo(entry.name, what, "measured", None, reason)


TARGETS: Mapping[str, _Builtin] = {
    "cpu": _Builtin(CPU_PLAN, _open_cpu, _describe_cpu),
    "arm": _Builtin(CPU_PLAN, _open_arm, _describe_arm),
    "gpu": _Builtin(GPU_PLAN, _open_gpu, _describe_gpu),
}
