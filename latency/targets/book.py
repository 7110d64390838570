"""The targets that have a name: built in, the user's devices, and the user's own objects."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

from nas_sv2.errors import ConfigError, DeviceError
from nas_sv2.latency.devices.device import Device
from nas_sv2.latency.devices.local import (
    CPU_PLAN,
    GPU_PLAN,
    LocalPython,
    has_gpu_driver,
    is_arm,
)
from nas_sv2.latency.devices.measured_device import Images
from nas_sv2.latency.devices.open_device import Notify, silent
from nas_sv2.latency.devices.reconnecting import MAX_BYTES, ReconnectingDevice
from nas_sv2.latency.targets.catalogue import catalogue
from nas_sv2.latency.targets.device_file import DeviceEntry, EmulatedCore, read_devices
from nas_sv2.latency.targets.entries import (
    DeviceTarget,
    EmulatedTarget,
    Execution,
    ObjectTarget,
    Opening,
    TargetEntry,
    TargetInfo,
    measured_by,
)
from nas_sv2.latency.targets.target import Target
from nas_sv2.latency.targets.user_target import LatencySource, UserTarget
from nas_sv2.plug_ins import is_plug_in, load_plug_in

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.store import MeasurementStore

Elsewhere = Callable[[str], Device | None]
"""Gives the device of a target's name on another machine; None if no machine offers one."""


@dataclass(slots=True)
class TargetBook:
    """The targets by name; it is read once a command.

    It is not frozen: it grows by the plug-ins that the user's words name.

    Attributes:
        entries: The targets by name.
        words: The `module:attribute` of plug-ins, by name.
    """

    entries: dict[str, TargetEntry]
    words: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, objects: Iterable[LatencySource] = ()) -> Self:
        """Read the built-in targets, the user's device files and the user's objects.

        Raises:
            ConfigError: A file cannot be read as devices, or an object is not a target.
        """
        users = {name: _entry_of(device) for name, device in read_devices().items()}
        book = cls({**built_in_targets(), **users})
        for source in objects:
            book.add(source)
        return book

    @classmethod
    def of_study(cls, identity: Mapping[str, Any]) -> Self:
        """Read the targets that are known now, with the plug-ins of a study.

        A plug-in is imported only when it is opened. A plug-in that is gone therefore hinders no
        other target.

        Args:
            identity: The settings that all trials of the study depend on.

        Raises:
            ConfigError: As `read`.
        """
        book = cls.read()
        book.words.update(identity.get(MODULES, {}))
        return book

    def add(self, source: LatencySource, word: str | None = None) -> str:
        """Add an object of the user's and return its name.

        Args:
            source: The object.
            word: The `module:attribute` that the object came from.

        Raises:
            ConfigError: The object is not a target, or another target has its name.
        """
        target = UserTarget(source)
        if target.name in self.entries:
            raise ConfigError("target.name", target.name, "must differ from other targets' names")
        self.entries[target.name] = ObjectTarget(target)
        if word is not None:
            self.words[target.name] = word
        return target.name

    def names(self, text: str) -> list[str]:
        """Read the names of targets, such as `arm` or `arm,pi5,my_lab.boards:MyBoard`.

        Raises:
            ConfigError: A name is unknown or given twice, or a plug-in cannot be imported.
        """
        names = [self._name(word.strip()) for word in text.split(",")]
        if len(set(names)) < len(names):
            raise ConfigError("target", text, "must name each target once")
        return names

    def one(self, text: str) -> str:
        """Read the name of one target.

        Raises:
            ConfigError: As `names`, or the text names several targets.
        """
        name, *others = self.names(text)
        if others:
            raise ConfigError("target", text, "must be one target")
        return name

    def executions(self, names: Iterable[str]) -> dict[str, Execution | None]:
        """Return how targets run networks, without those that are known after an import alone."""
        known = {**catalogue(), **self.entries}
        return {name: known[name].execution for name in names if name in known}

    def modules(self, names: Iterable[str]) -> dict[str, str]:
        """Return the `module:attribute` of each name that is a plug-in, for a study to keep."""
        return {name: self.words[name] for name in names if name in self.words}

    def open(
        self,
        name: str,
        *,
        store: "MeasurementStore | None" = None,
        require_measured: bool = False,
        fresh: bool = False,
        notify: Notify = silent,
        images: Images | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> Target:
        """Open the target of this name.

        Args:
            name: The name of one target.
            store: Measurements are looked up and kept here, and users of a device are seen.
            require_measured: Refuse a target that does not run the network.
            fresh: Measure even if a measurement is stored.
            notify: Called with a line for each wait: for another process, or for a connection.
            images: Gives the images that int8 networks take their scales from.
            elsewhere: Finds devices on other machines; those of this one are then not used.

        Raises:
            ConfigError: The name is unknown, no machine of the cluster offers the device, or its
                latencies are not measured and must be.
            DeviceError: The target cannot be used; another never takes its place.
        """
        entry, opening = self[name], Opening(store, fresh, notify, images)
        device = None if elsewhere is None else elsewhere(name)
        if device is not None:
            if entry.plan is None:
                raise ConfigError("target", name, "must be a device that runs networks")
            target: Target = measured_by(name, device, entry.plan, opening, asked=True)
        elif elsewhere is not None and entry.needs_device:
            raise ConfigError(
                "target", name, "must be a device that a machine of the cluster offers"
            )
        else:
            target = entry.open(opening)
        if require_measured and target.provenance != "measured":
            target.close()
            sentence = "must be a target that measures, because measured latencies are required"
            raise ConfigError("target", name, f"{sentence}; these are {target.provenance}")
        return target

    def device(
        self, name: str, notify: Notify = silent, store: "MeasurementStore | None" = None
    ) -> ReconnectingDevice:
        """Open the device of a target alone: to try it out, or to measure for another machine.

        Raises:
            ConfigError: This machine knows no such target, or the target runs no network.
            DeviceError: The machine of the device cannot be identified.
        """
        return self[name].device(store, notify)

    def describe(self) -> list[TargetInfo]:
        """Describe every target without asking the user's devices."""
        return [entry.describe() for entry in self.entries.values()]

    def __getitem__(self, name: str) -> TargetEntry:
        """Find a target, importing it if it is a plug-in of a study.

        Raises:
            ConfigError: The name is unknown, or its plug-in cannot be imported.
        """
        if name in self.words and name not in self.entries:
            self._import(self.words[name])
        if name in self.entries:
            return self.entries[name]
        if name in catalogue():
            return catalogue()[name]
        close = get_close_matches(name.casefold(), [*self.entries, *catalogue()], 3, 0.75)
        allowed = (
            f"must be one of {', '.join(self.entries)}, or a name of nas-sv2 device catalogue"
            + (f", such as {', '.join(close)}" if close else "")
            + "; nas-sv2 device add names a new one"
        )
        raise ConfigError("target", name, allowed)

    def _name(self, word: str) -> str:
        if not is_plug_in(word):
            return self[word].name
        known = [name for name in self.entries if self.words.get(name) == word]
        return known[0] if known else self._import(word)

    def _import(self, word: str) -> str:
        return self.add(load_plug_in("target", word, "estimate"), word)


MODULES = "target_modules"
"""The key of a study's identity under which `TargetBook.modules` is kept."""


def built_in_targets() -> dict[str, TargetEntry]:
    """Give the targets that need no device file."""
    here = LocalPython()
    arm: TargetEntry
    if is_arm():
        what = "this machine, a 64-bit ARM, onnxruntime, 1 thread, batch 1"
        arm = DeviceTarget("arm", here, CPU_PLAN, what, check=_usable, asks_first=False)
    else:
        what = "Cortex-A57, emulated from a table"
        arm = EmulatedTarget("arm", EmulatedCore(), what, CPU_PLAN)
    what = "this machine, onnxruntime, 1 thread, batch 1"
    cpu = DeviceTarget("cpu", here, CPU_PLAN, what, check=_usable, asks_first=False)
    what = "this machine's GPU, torch CUDA, batch 8"
    gpu = DeviceTarget("gpu", here, GPU_PLAN, what, check=_gpu_obstacle)
    return {entry.name: entry for entry in (cpu, arm, gpu)}


def _usable() -> str:
    """Return an empty string: this machine's CPU can always be used."""
    return ""


def _gpu_obstacle() -> str:
    """Return the reason why this machine's GPU cannot be used; empty if it can."""
    if not has_gpu_driver():
        return "no GPU driver is loaded here"
    try:
        DeviceTarget("gpu", LocalPython(), GPU_PLAN, "").open(Opening()).close()
    except DeviceError as error:
        return str(error)
    return ""


def _entry_of(device: DeviceEntry) -> TargetEntry:
    """Make a target from a device of the device file."""
    what = f"{device.describe()}, {device.origin}"
    if isinstance(device.place, EmulatedCore):
        return EmulatedTarget(device.name, device.place, what, warning=device.warning)
    assert device.plan is not None, "a device that runs networks has a plan"
    max_bytes = MAX_BYTES if device.max_mib is None else round(device.max_mib * 2**20)
    return DeviceTarget(
        device.name, device.place, device.plan, what, max_bytes=max_bytes, warning=device.warning
    )
