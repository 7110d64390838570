"""Faults of a device that show in the clocks, temperatures and loads during a measurement."""

from collections.abc import Mapping, Sequence
from typing import Any

CLOCK_DROP = 0.9
"""A clock below this share of the session's highest clock counts as throttled.

Governors at rest move a clock by a few percent; throttling lowers it by a step."""
STOLEN_SHARE = 0.01
"""Share of time taken by a hypervisor above which it is reported."""
QUOTA_USED_UP = 0.01
"""Share of the periods of a CPU quota that were cut short above which it is reported."""
GPU_IDLE_OR_USER = 0x1 | 0x2
"""Bits of NVIDIA's throttle reasons that are harmless: idle, or a clock set by the user."""


def device_complaints(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the faults of the device during a measurement; empty if none is known."""
    found = clock_complaints(conditions)
    share = quota_share(conditions)
    if share > QUOTA_USED_UP:
        found.append(
            f"the CPU quota stopped it in {share:.0%} of the quota's periods: programs there take "
            "longer than this figure; raise the quota (docker --cpus, limits.cpu of Kubernetes)"
        )
    stolen = stolen_share(conditions)
    if stolen is not None and stolen > STOLEN_SHARE:
        found.append(f"{stolen:.0%} of the time went to other machines of this host")
    return found


def clock_complaints(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the faults of clocks, heat and supply; empty if none is known."""
    found = []
    for name, unit in (("khz", 1e3), ("gpu_mhz", 1.0)):
        clocks = column(conditions[1:], name)  # the first was read at rest
        if clocks and min(clocks) < CLOCK_DROP * max(clocks):
            low, high = min(clocks) / unit, max(clocks) / unit
            found.append(
                f"the clock fell from {high:.0f} to {low:.0f} MHz; fix it, or let it cool"
            )
    if _throttled(conditions):
        warmest = max(
            [*column(conditions, "celsius"), *column(conditions, "gpu_celsius")], default=0
        )
        at = f" at {warmest:.0f} °C" if warmest else ""
        found.append(f"the device throttled{at}; cool it, or time it hot (heat_s)")
    if any(column(conditions, "under_voltage")):
        found.append("the supply of the Raspberry Pi is too weak; use a stronger one")
    return found


def column(conditions: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return the values of one reading in order of time."""
    return [state[name] for state in conditions if isinstance(state.get(name), int | float)]


def quota_share(conditions: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of the CPU quota's periods in which it was used up; 0 without a quota."""
    return _share(conditions, "quota_throttled", "quota_periods") or 0.0


def stolen_share(conditions: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the share of the time that a hypervisor took; None if the system does not tell."""
    return _share(conditions, "stolen_ticks", "ticks")


def _share(conditions: Sequence[Mapping[str, Any]], part: str, whole: str) -> float | None:
    """Return by how much a count grew relative to another; None if that did not grow."""
    parts, wholes = column(conditions, part), column(conditions, whole)
    if len(parts) < 2 or len(wholes) < 2 or wholes[-1] <= wholes[0]:
        return None
    return (parts[-1] - parts[0]) / (wholes[-1] - wholes[0])


def _throttled(conditions: Sequence[Mapping[str, Any]]) -> bool:
    counts = column(conditions, "throttle_count")
    if len(counts) > 1 and counts[-1] > counts[0]:
        return True
    board = [_hexadecimal(state.get("throttled")) & 0xF for state in conditions]
    gpu = [_hexadecimal(state.get("gpu_throttled")) & ~GPU_IDLE_OR_USER for state in conditions]
    return any(board) or any(gpu)


def _hexadecimal(text: object) -> int:
    try:
        return int(str(text), 16)
    except ValueError:
        return 0
