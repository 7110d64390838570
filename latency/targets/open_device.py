"""A device that the user has described, ready to be used."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nas_sv2.database.locks import Claim, Exclusive, FileLock
from nas_sv2.errors import ConfigError
from nas_sv2.latency.agent import agent
from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.devices.local import LocalPython
from nas_sv2.latency.devices.reconnecting import MAX_BYTES, SteadyDevice
from nas_sv2.latency.targets.device_file import DeviceEntry, EmulatedCore

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.store import MeasurementStore

Told = Callable[[str], None]


def silent(line: str) -> None:
    """Tell nobody."""


def device_at(
    name: str,
    launcher: Launcher,
    store: "MeasurementStore | None" = None,
    told: Told = silent,
    max_bytes: int = MAX_BYTES,
) -> SteadyDevice:
    """A device that the agent is started on as `launcher` does it.

    Args:
        name: What the user calls it.
        launcher: How a python3 is started there.
        store: Where processes of other machines see that it is in use; None for nowhere.
        told: Is told what is waited for.
        max_bytes: Of one network.

    Raises:
        DeviceError: It cannot be said which machine it is.
        StoreError: The database cannot be written.
    """
    claims: list[Claim] = [FileLock.of(launcher.key)]
    if store is not None:
        from nas_sv2.latency.devices.lease import Lease

        claims.append(Lease(store.engine, launcher.key[:255]))
    return SteadyDevice(
        AgentDevice(name, launcher.command(agent.BOOTSTRAP)),
        Exclusive(name, tuple(claims), told),
        launcher.advice,
        told,
        max_bytes,
    )


def this_machine(
    name: str, store: "MeasurementStore | None" = None, told: Told = silent
) -> SteadyDevice:
    """This machine, under the interpreter and packages of this process."""
    return device_at(name, LocalPython(), store, told)


def device_of(
    entry: DeviceEntry, store: "MeasurementStore | None" = None, told: Told = silent
) -> SteadyDevice:
    """The device of an entry that runs networks.

    Raises:
        ConfigError: It is one that runs none.
        DeviceError: As `device_at`.
        StoreError: As `device_at`.
    """
    if isinstance(entry.place, EmulatedCore):
        raise ConfigError(
            "name", entry.name, "must be a device that runs networks; this one is emulated"
        )
    max_bytes = MAX_BYTES if entry.max_mib is None else round(entry.max_mib * 2**20)
    return device_at(entry.name, entry.place, store, told, max_bytes)
