"""Latency targets by name: what the search and the command line ask for a figure.

A target is a device and a plan, or something that prices a network without running it. The names
here are built in; each is one entry of `TARGETS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nas_sv2.errors import ConfigError, DeviceError
from nas_sv2.latency.local import CPU_PLAN, GPU_PLAN, has_gpu_driver, is_arm, local_device
from nas_sv2.latency.measured_target import MeasuredTarget
from nas_sv2.latency.measurement import Latency, Provenance
from nas_sv2.latency.plan import MeasurePlan
from nas_sv2.space import Architecture

if TYPE_CHECKING:
    from nas_sv2.latency.store import MeasurementStore


class Target(Protocol):
    """Something that says how long a network takes."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def provenance(self) -> str:
        """Where its figures come from; a `Provenance`."""

    def estimate(self, architecture: Architecture) -> Latency:
        """The latency of `architecture` at its own resolution.

        Raises:
            DeviceError: The device is missing, unreachable or lacks its runtime.
            MeasurementError: It answered, but not with a latency.
            StoreError: Stored measurements cannot be read or written.
        """

    def close(self) -> None:
        """Let go of devices; needed once, at the end."""


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """What a target is, for a table of them.

    Attributes:
        name: For `--target`.
        what: In a few words.
        provenance: Where its figures come from.
        available: Whether it can be used here and now.
        reason: Why not, and what to do; empty if it can.
    """

    name: str
    what: str
    provenance: Provenance
    available: bool
    reason: str = ""


def open_target(
    name: str,
    *,
    store: "MeasurementStore | None" = None,
    require_measured: bool = False,
    fresh: bool = False,
) -> Target:
    """The target of this name, ready or getting ready.

    Args:
        name: One of `TARGETS`.
        store: Where measurements are looked up and kept.
        require_measured: Refuse a target that does not run the network.
        fresh: Measure even what is stored.

    Raises:
        ConfigError: Unknown name.
        DeviceError: The target cannot be used here; never another in its place.
    """
    if name not in TARGETS:
        raise ConfigError("--target", name, "one of " + ", ".join(TARGETS))
    target = TARGETS[name].open(store, fresh)
    if require_measured and target.provenance != "measured":
        target.close()
        raise DeviceError(
            f"{name}: its figures are {target.provenance}, and measured ones are required; "
            "run on such a device, or do without --require-measured"
        )
    return target


def target_names(text: str) -> list[str]:
    """The targets in the user's words: `arm`, or several as `arm,cpu`.

    Raises:
        ConfigError: An unknown name, or one twice.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in TARGETS:
            raise ConfigError("--target", name, "one of " + ", ".join(TARGETS))
    if len(set(names)) < len(names):
        raise ConfigError("--target", text, "each target once")
    return names


def describe_targets() -> list[TargetInfo]:
    """Every target, available or not."""
    return [builtin.describe() for builtin in TARGETS.values()]


@dataclass(frozen=True, slots=True)
class _Builtin:
    open: Callable[["MeasurementStore | None", bool], Target]
    describe: Callable[[], TargetInfo]


def _open_cpu(store: "MeasurementStore | None", fresh: bool) -> Target:
    return _measured("cpu", CPU_PLAN, store, fresh)


def _open_arm(store: "MeasurementStore | None", fresh: bool) -> Target:
    if is_arm():
        return _measured("arm", CPU_PLAN, store, fresh)
    from nas_sv2.latency.emulated import EmulatedA57

    return EmulatedA57()


def _open_gpu(store: "MeasurementStore | None", fresh: bool) -> Target:
    target = _measured("gpu", GPU_PLAN, store, fresh)
    try:
        target.device.fingerprint(target.plan)  # before a search begins, not in its first trial
    except DeviceError:
        target.close()
        raise
    return target


def _measured(
    name: str, plan: MeasurePlan, store: "MeasurementStore | None", fresh: bool
) -> MeasuredTarget:
    device = local_device(name)
    device.start()  # the agent imports its runtime while we build the first network
    return MeasuredTarget(name, device, plan, store, fresh)


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
            _open_gpu(None, False).close()
        except DeviceError as error:
            reason = str(error)
    return TargetInfo("gpu", what, "measured", not reason, reason)


TARGETS: Mapping[str, _Builtin] = {
    "cpu": _Builtin(_open_cpu, _describe_cpu),
    "arm": _Builtin(_open_arm, _describe_arm),
    "gpu": _Builtin(_open_gpu, _describe_gpu),
}
