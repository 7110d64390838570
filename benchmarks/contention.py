"""Whether a latency survives other programs: idle and busy in alternation.

Busy is one endless loop a core. Both states are taken in turn, because a shared host has slow and
fast spells of its own that last longer than a measurement. Beside them stands what most scripts
report: the plain mean of the wall times of the same runs.

    python benchmarks/contention.py
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nas_sv2.latency.local import CPU_PLAN, local_device
from nas_sv2.latency.measurement import Measurement
from nas_sv2.latency.payload import payload_of
from nas_sv2.space import reference

NETWORK = "shufflenet_v2_x1_0"
ROUNDS = 8


def main() -> None:
    """Print the medians over the rounds, and how often contention was noticed."""
    payload = payload_of(reference(NETWORK), CPU_PLAN)
    idle: list[Measurement] = []
    busy: list[Measurement] = []
    with local_device("cpu") as device:
        for _ in range(ROUNDS):
            idle.append(device.measure(payload, CPU_PLAN, architecture="idle"))
            with _every_core_busy():
                busy.append(device.measure(payload, CPU_PLAN, architecture="busy"))
    print(f"{NETWORK}, onnxruntime, one thread, {ROUNDS} rounds, median (lowest to highest):")
    _line("idle, ours", [m.median_ms for m in idle])
    _line("busy, ours", [m.median_ms for m in busy])
    _line("busy, plain mean", [statistics.mean(m.wall_ms) for m in busy])
    rest = statistics.median(m.median_ms for m in idle)
    ours = statistics.median(m.median_ms for m in busy) / rest - 1
    plain = statistics.median(statistics.mean(m.wall_ms) for m in busy) / rest - 1
    print(f"busy against idle: ours {ours:+.1%} (target: within 5 %), plain mean {plain:+.1%}")
    print(
        f"called contended: {sum(m.contended for m in busy)} of {ROUNDS} busy, "
        f"{sum(m.contended for m in idle)} of {ROUNDS} idle"
    )


def _line(label: str, figures: list[float]) -> None:
    print(
        f"  {label:18} {statistics.median(figures):7.3f} ms  "
        f"({min(figures):.3f} to {max(figures):.3f})"
    )


@contextmanager
def _every_core_busy() -> Iterator[None]:
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
