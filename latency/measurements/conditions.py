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
    share = quota_share(conditions)
    if share > QUOTA_USED_UP:
        found.append(
            f"the CPU quota stopped it in {share:.0%} of the quota's periods: programs there take "
            "longer than this figure; raise the quota (docker --cpus, limits.cpu of Kubernetes)"
        )
    ticks, stolen = column(conditions, "ticks"), column(conditions, "stolen_ticks")
    if len(ticks) > 1 and len(stolen) > 1 and ticks[-1] > ticks[0]:
        share = (stolen[-1] - stolen[0]) / (ticks[-1] - ticks[0])
        if share > STOLEN_SHARE:
            found.append(f"{share:.0%} of the time went to other machines of this host")
    return found


def column(conditions: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return the values of one reading in order of time."""
    return [state[name] for state in conditions if isinstance(state.get(name), int | float)]


def quota_share(conditions: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of the CPU quota's periods in which it was used up; 0 without a quota."""
    periods = column(conditions, "quota_periods")
    stopped = column(conditions, "quota_throttled")
    if len(periods) < 2 or len(stopped) < 2 or periods[-1] <= periods[0]:
        return 0.0
    return (stopped[-1] - stopped[0]) / (periods[-1] - periods[0])


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
