"""Build a device that is reached by the agent from its layers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nas_sv2.database.locks import Claim, Exclusive, FileLock
from nas_sv2.latency.agent import agent
from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.devices.reconnecting import MAX_BYTES, ReconnectingDevice

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.store import MeasurementStore

Notify = Callable[[str], None]


def silent(line: str) -> None:
    """Ignore the line."""


def device_at(
    name: str,
    launcher: Launcher,
    store: "MeasurementStore | None" = None,
    notify: Notify = silent,
    max_bytes: int = MAX_BYTES,
) -> ReconnectingDevice:
    """Open a device on which `launcher` starts the agent; nothing is started yet.

        ReconnectingDevice        starts the agent again, waits for a lost connection
          Exclusive               one process at a time
            FileLock                of this host
            Lease                   of all hosts that share the database
          AgentDevice             asks the agent, refuses replies that are not measurements
            Channel                 frames on stdin and stdout, time limits, killing
              command               the launcher's: python3 here, over ssh, by the user's command

    Args:
        name: The user's name for the device.
        launcher: Starts a python3 there.
        store: Its database shows to processes of other machines that the device is in use.
        notify: Called with a line for each wait.
        max_bytes: The largest network that is sent there, in bytes.

    Raises:
        DeviceError: The machine behind the launcher cannot be identified.
        StoreError: The database cannot be written.
    """
    claims: list[Claim] = [FileLock.of(launcher.key)]
    if store is not None and not store.db.is_read_only:  # its file is on this machine
        from nas_sv2.latency.devices.lease import Lease

        claims.append(Lease(store.db, launcher.key[:255]))
    return ReconnectingDevice(
        AgentDevice(name, launcher.command(agent.BOOTSTRAP)),
        Exclusive(name, tuple(claims), notify),
        launcher,
        notify,
        max_bytes,
    )
