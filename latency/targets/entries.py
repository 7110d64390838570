"""Targets before they are opened: a device with its plan, an emulated core, or an object."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas_sv2.errors import ConfigError
from nas_sv2.latency.devices.device import Device
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.devices.measured_device import Images, MeasuredDevice
from nas_sv2.latency.devices.open_device import Notify, device_at, silent
from nas_sv2.latency.devices.reconnecting import MAX_BYTES, ReconnectingDevice
from nas_sv2.latency.measurements.measurement import Provenance
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.device_file import EmulatedCore
from nas_sv2.latency.targets.target import MeasuredTarget, Target
from nas_sv2.latency.targets.user_target import UserTarget

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.store import MeasurementStore


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """A target in words, for a table of targets.

    Attributes:
        name: For `--target`.
        what: A description in a few words.
        provenance: The origin of its latencies.
        available: Whether it can be used here and now; None if it was not asked.
        reason: The obstacle and a remedy; empty if there is none.
    """

    name: str
    what: str
    provenance: Provenance
    available: bool | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """Settings of a command that opens targets.

    Attributes:
        store: Measurements are looked up and kept here, and users of a device are seen.
        fresh: Measure even if a measurement is stored.
        notify: Called with a line for each wait: for another process, or for a connection.
        images: Gives the images that int8 networks take their scales from; None for random ones.
    """

    store: "MeasurementStore | None" = None
    fresh: bool = False
    notify: Notify = silent
    images: Images | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """How a target runs networks, or is priced as if it did.

    Attributes:
        runtime: The runtime.
        precision: The number format of the networks.
        batch: Images of a run.
    """

    runtime: str
    precision: str
    batch: int = 1

    @classmethod
    def of(cls, plan: MeasurePlan) -> "Execution":
        """Return that of a plan."""
        return cls(plan.runtime, plan.precision, plan.batch)


class TargetEntry(Protocol):
    """A target that can be opened."""

    @property
    def name(self) -> str:
        """The user's name for the target."""

    @property
    def plan(self) -> MeasurePlan | None:
        """The plan by which a device of this name is measured; None if none ever is."""

    @property
    def execution(self) -> Execution | None:
        """How it runs networks; None if that is not known."""

    @property
    def needs_device(self) -> bool:
        """Whether the target has to run networks, here or on another machine."""

    def open(self, opening: Opening) -> Target:
        """Open the target here.

        Raises:
            DeviceError: The target cannot be used here; another never takes its place.
        """

    def device(self, store: "MeasurementStore | None", notify: Notify) -> ReconnectingDevice:
        """Open the device alone.

        Raises:
            ConfigError: The target runs no network.
            DeviceError: The machine of the device cannot be identified.
        """

    def describe(self) -> TargetInfo:
        """Describe the target without asking the user's device."""


@dataclass(frozen=True, slots=True)
class DeviceTarget:
    """A device that runs networks.

    Attributes:
        name: The user's name for the device.
        launcher: Starts a python3 there.
        plan: The protocol of its measurements.
        what: The device in words.
        check: Returns the reason why the device cannot be used, empty if it can be; None to
            describe the device without asking it.
        asks_first: Whether to fetch the fingerprint on opening, so that a missing runtime is
            found before the first trial.
        max_bytes: The largest network that is sent there, in bytes.
        warning: One line to say when the device is used; empty for none.
    """

    name: str
    launcher: Launcher
    plan: MeasurePlan
    what: str
    check: Callable[[], str] | None = None
    asks_first: bool = True
    max_bytes: int = MAX_BYTES
    warning: str = ""

    @property
    def execution(self) -> Execution:
        """Give that of its plan."""
        return Execution.of(self.plan)

    @property
    def needs_device(self) -> bool:
        """Whether the target has to run networks: always."""
        return True

    def open(self, opening: Opening) -> Target:
        """Open the device; its agent starts while the first network is built."""
        device = self.device(opening.store, opening.notify)
        device.start()
        return measured_by(self.name, device, self.plan, opening, asked=self.asks_first)

    def device(self, store: "MeasurementStore | None", notify: Notify) -> ReconnectingDevice:
        """Open the device alone."""
        if self.warning:
            notify(self.warning)
        return device_at(self.name, self.launcher, store, notify, self.max_bytes)

    def describe(self) -> TargetInfo:
        """Describe the device."""
        if self.check is None:
            reason = f"not asked; nas-sv2 device test {self.name}"
            return TargetInfo(self.name, self.what, "measured", None, reason)
        reason = self.check()
        return TargetInfo(self.name, self.what, "measured", not reason, reason)


@dataclass(frozen=True, slots=True)
class EmulatedTarget:
    """A core whose latencies come from a table.

    Attributes:
        name: The user's name for the target.
        core: The core, its precision and its table.
        what: The core in words.
        plan: The plan of a device of this name on another machine of a cluster; None if this
            name never means a device.
        warning: One line to say when the core is used; empty for none.
    """

    name: str
    core: EmulatedCore
    what: str
    plan: MeasurePlan | None = None
    warning: str = ""

    @property
    def execution(self) -> Execution:
        """Give the runtime and precision of the kernels, for one image at a time."""
        return Execution(self.core.runtime, self.core.precision)

    @property
    def needs_device(self) -> bool:
        """Whether the target has to run networks: never."""
        return False

    def open(self, opening: Opening) -> Target:
        """Read the table."""
        from nas_sv2.latency.emulated.emulated_arm import EmulatedArm

        if self.warning:
            opening.notify(self.warning)

        core = self.core
        file = None if core.table is None else Path(core.table)
        return EmulatedArm.open(
            core.core,
            core.precision,
            name=self.name,
            file=file,
            clock_ghz=core.clock_ghz,
            runtime=core.runtime,
        )

    def device(self, store: "MeasurementStore | None", notify: Notify) -> ReconnectingDevice:
        """Refuse: there is no device."""
        raise runs_nothing(self.name, "emulated")

    def describe(self) -> TargetInfo:
        """Describe the core."""
        return TargetInfo(self.name, self.what, "emulated", True)


@dataclass(frozen=True, slots=True)
class ObjectTarget:
    """An object of the user's.

    Attributes:
        target: The object, with all members of a target.
    """

    target: UserTarget

    @property
    def name(self) -> str:
        """The object's name."""
        return self.target.name

    @property
    def plan(self) -> None:
        """Give None: no device stands for it on another machine."""

    @property
    def execution(self) -> None:
        """Give None: the object does not tell."""

    @property
    def needs_device(self) -> bool:
        """Whether the target has to run networks: never."""
        return False

    def open(self, opening: Opening) -> Target:
        """Give the object itself."""
        return self.target

    def device(self, store: "MeasurementStore | None", notify: Notify) -> ReconnectingDevice:
        """Refuse: the object is not a device that runs the agent."""
        raise runs_nothing(self.name, "an object of Python")

    def describe(self) -> TargetInfo:
        """Describe the object by its class."""
        kind = type(self.target.source)
        what = f"an object of {kind.__module__}.{kind.__qualname__}"
        return TargetInfo(self.name, what, self.target.provenance, True)


def measured_by(
    name: str, device: Device, plan: MeasurePlan, opening: Opening, *, asked: bool
) -> MeasuredTarget:
    """Make a target of an open device; if `asked`, fetch the device's fingerprint first.

    Raises:
        DeviceError: The device does not answer, or lacks what the plan needs.
        StoreError: The database gives no turn at the device.
    """
    measured = MeasuredDevice(name, device, plan, opening.store, opening.fresh, opening.images)
    if asked:
        try:
            measured.fingerprint()
        except BaseException:  # an interrupt, or a database that gives no turn: the agent runs
            device.close()
            raise
    return MeasuredTarget(measured)


def runs_nothing(name: str, kind: str) -> ConfigError:
    """Return the error of a target that has no device to run networks."""
    return ConfigError("name", name, f"must be a device that runs networks; this one is {kind}")
