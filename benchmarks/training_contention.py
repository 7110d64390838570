"""What a training step takes beside busy loops, by the number of trainings and of threads.

    python benchmarks/training_contention.py

A line is one state: so many trainings at once, of so many threads each, beside so many endless
loops. The steps are of ShuffleNet V2 1x at 32×32, batch 64. The wall time of each step counts,
after ten steps that warm up.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

LOOP = "while True: pass"
STEPS = """
import sys, time
import torch
from torch.nn import functional
from nas_sv2.evaluate.fitting.determinism import stream
from nas_sv2.evaluate.fitting.learners import make_optimiser
from nas_sv2.evaluate.recipes.files import built_in_recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.units.reference import reference
import dataclasses
threads, seconds = int(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(threads)
network = dataclasses.replace(reference("shufflenet_v2_x1_0"), resolution=32, stem_stride=2)
module = build_module(lower(network), stream(0, "weights")).to(memory_format=torch.channels_last)
optimiser = make_optimiser(module, built_in_recipe("quick"))
images = torch.randn(64, 3, 32, 32).to(memory_format=torch.channels_last)
labels = torch.randint(network.classes, (64,))
def step():
    optimiser.zero_grad()
    functional.cross_entropy(module(images), labels).backward()
    optimiser.step()
for _ in range(10):
    step()
print("ready", flush=True)
sys.stdin.readline()
ends, times = time.perf_counter() + seconds, []
while time.perf_counter() < ends or len(times) < 5:
    began = time.perf_counter()
    step()
    times.append(time.perf_counter() - began)
print(*times, flush=True)
"""


@contextmanager
def looping(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def steps_ms(trainings: int, threads: int, loops: int, seconds: float) -> list[list[float]]:
    """The times of all steps, by training."""
    command = [sys.executable, "-W", "ignore", "-c", STEPS, str(threads), str(seconds)]
    with ExitStack() as started:
        running = [
            started.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(trainings)
        ]
        for each in running:
            assert each.stdout is not None and each.stdout.readline() == "ready\n"
        with looping(loops):
            for each in running:
                assert each.stdin is not None
                each.stdin.write("go\n")
                each.stdin.flush()
            said = [each.stdout.readline() for each in running if each.stdout is not None]
    return [[1e3 * float(word) for word in line.split()] for line in said]


def line_of(times: Sequence[Sequence[float]], seconds: float) -> str:
    """The time of a step, and the steps a second of all trainings together."""
    every = sorted(itertools.chain(*times))
    worst, rate = every[int(0.95 * (len(every) - 1))], sum(map(len, times)) / seconds
    return f"{statistics.fmean(every):8.0f} {worst:8.0f} {rate:9.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=6.0)
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("trainings threads loops  ms/step      p95   steps/s")
    for (trainings, threads), loops in itertools.product(((1, 1), (2, 1), (1, 2)), (0, 1, 2)):
        times = steps_ms(trainings, threads, loops, asked.seconds)
        print(f"{trainings:9} {threads:7} {loops:5} {line_of(times, asked.seconds)}", flush=True)


if __name__ == "__main__":
    main()
