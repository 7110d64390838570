"""Whether a latency survives other programs: idle and busy in alternation.

Busy is one endless loop a core. Both states are taken in turn, because a shared host has slow and
fast spells of its own that last longer than a measurement. Beside them stands what most scripts
report: the plain mean of a hundred wall times.

    python benchmarks/contention.py [ROUNDS]
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nas_sv2.latency.devices.local import CPU_PLAN, local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.space.units.reference import reference

NETWORKS = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x2_0")
ROUNDS = 8


class Pair(NamedTuple):
    """One network, idle and at once afterwards busy."""

    idle: Measurement
    busy: Measurement


def main() -> None:
    """Print how far busy is from idle for each network, and how often it was noticed."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    pairs: dict[str, list[Pair]] = {name: [] for name in NETWORKS}
    device = MeasuredDevice("cpu", local_device("cpu"), CPU_PLAN)
    for _ in range(rounds):
        for name in NETWORKS:
            idle = device.measure_together([reference(name)])[0]
            with every_core_busy():
                busy = device.measure_together([reference(name)])[0]
            pairs[name].append(Pair(idle, busy))
    device.close()
    print(f"onnxruntime, one thread, medians over {rounds} rounds; busy against idle of a round:")
    columns = f"{'idle ms':>8} {'busy ms':>8} {'change':>8} {'ratio':>8} {'mean of 100':>12}"
    print(f"{'network':20} {columns}")
    for name, taken in pairs.items():
        _line(name, taken)
    busy_ones = [pair.busy for taken in pairs.values() for pair in taken]
    idle_ones = [pair.idle for taken in pairs.values() for pair in taken]
    print(
        f"called contended: {sum(m.contended for m in busy_ones)} of {len(busy_ones)} busy, "
        f"{sum(m.contended for m in idle_ones)} of {len(idle_ones)} idle"
    )


def _line(name: str, taken: list[Pair]) -> None:
    idle = statistics.median(pair.idle.median_ms for pair in taken)
    busy = statistics.median(pair.busy.median_ms for pair in taken)
    times = _change([(pair.idle.median_ms, pair.busy.median_ms) for pair in taken])
    ratios = _change([(_ratio(pair.idle), _ratio(pair.busy)) for pair in taken])
    means = _change([(pair.idle.median_ms, _mean_of_100(pair.busy)) for pair in taken])
    print(f"{name:20} {idle:8.3f} {busy:8.3f} {times:+8.1%} {ratios:+8.1%} {means:+12.1%}")


def _change(values: list[tuple[float, float]]) -> float:
    return statistics.median(busy / idle - 1 for idle, busy in values)


def _ratio(measurement: Measurement) -> float:
    assert measurement.ratio is not None
    return measurement.ratio[0]


def _mean_of_100(measurement: Measurement) -> float:
    return statistics.mean(measurement.samples.wall[:100])


@contextmanager
def every_core_busy() -> Iterator[None]:
    """Run one endless loop a core meanwhile."""
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
    time.sleep(0.3)
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
