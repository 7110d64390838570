"""The shuffle-free rewrite against the network as written, at equal outputs.

Both run in alternation in one process on one thread; compared are medians of the CPU time of that
thread, which other programs hardly disturb.

    python benchmarks/shuffle_free.py
"""

import statistics
import time

import numpy as np
import onnxruntime

from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.onnx_lowering import INPUT, build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import Array, random_weights
from nas_sv2.space.units.reference import reference

NETWORKS = (
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "shufflenet_v2_se_x1_0",
    "shufflenet_v2_residual_x1_0",
)
RUNS = 150


def main() -> None:
    """Print a line a network."""
    images = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    print(
        "network                        as written ms   shuffle-free ms   faster   outputs differ"
    )
    for name in NETWORKS:
        graph = lower(reference(name))
        weights = random_weights(graph, seed=0)
        sessions = [
            _session(build_onnx(graph, weights)),
            _session(build_onnx(*without_shuffles(graph, weights))),
        ]
        written, free = (session.run(None, {INPUT: images})[0] for session in sessions)
        difference = abs(written - free).max() / abs(written).max()
        before, after = _alternated(sessions, images)
        print(
            f"{name:30} {before:13.3f}   {after:15.3f}   {1 - after / before:6.1%}   "
            f"{difference:.0e} of the largest"
        )
    print("target: at least 4 % faster on the plain networks")


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _alternated(sessions: list[onnxruntime.InferenceSession], images: Array) -> list[float]:
    """Median thread-CPU ms of each."""
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(RUNS):
        for session, spent in zip(sessions, times, strict=True):
            start = time.thread_time_ns()
            session.run(None, {INPUT: images})
            spent.append((time.thread_time_ns() - start) / 1e6)
    return [statistics.median(spent[RUNS // 10 :]) for spent in times]


if __name__ == "__main__":
    main()
