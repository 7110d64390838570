"""How much more memory onnxruntime sets aside for activations than are alive at once.

onnxruntime plans one block for the activations of a run. It keeps a buffer for later values of the
same shape, and places buffers in the order in which they come, so that gaps remain. Its log says
how large the block is when the arena grows. The arena is emptied after each run
(`memory.enable_memory_arena_shrinkage`), so that it grows in the second run, which is the first to
have a plan. The caller holds input and output, so neither is in the block.

    python benchmarks/peak_memory.py
"""

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.graph.peak_memory import most_alive, steps_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import random_weights

NETWORKS = (
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("shufflenet_v2_50", "shufflenet_v1_g3_x1_0", "mobilenet_v1_x1_0", "mobilenet_v2_x1_0"),
    *("resnet50", "light_densenet_x1_0"),
)
LEVELS = {
    "as written": "ORT_DISABLE_ALL",
    "fused": "ORT_ENABLE_EXTENDED",
    "fused and in blocks of channels": "ORT_ENABLE_ALL",
}
GROWS = re.compile(r"Extending BFCArena for Cpu.*num_bytes: (\d+)")
SECOND = "the second run"

RUN = f"""
import sys, numpy, onnxruntime
onnxruntime.set_default_logger_severity(1)
kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
info = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
config = onnxruntime.OrtArenaCfg({{"arena_extend_strategy": 1}})  # by what is asked for
onnxruntime.create_and_register_allocator(info, config)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, sys.argv[2])
options.add_session_config_entry("session.use_env_allocators", "1")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feed = {{each.name: numpy.ones(each.shape, "float32") for each in session.get_inputs()}}
shrinks = onnxruntime.RunOptions()
shrinks.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
session.run(None, feed, shrinks)
print("{SECOND}", file=sys.stderr, flush=True)
session.run(None, feed, shrinks)
"""


def main() -> None:
    """Print a row for each network and form, and the range of the ratios."""
    ratios: dict[str, list[float]] = {level: [] for level in LEVELS}
    print("| network | form | alive at once | " + " | ".join(f"block, {n}" for n in LEVELS) + " |")
    print("| --- | --- | --- |" + " --- |" * len(LEVELS))
    for name in NETWORKS:
        plain = lower(published_network(name))
        weights = random_weights(plain, 0)
        free = without_shuffles(plain, weights)
        forms = {"plain": (plain, weights)} | ({} if free[0] == plain else {"shuffle-free": free})
        for form, (graph, held) in forms.items():
            alive = alive_bytes(graph)
            blocks = {level: block_bytes(build_onnx(graph, held), level) for level in LEVELS}
            for level, block in blocks.items():
                ratios[level].append(block / alive)
            cells = [f"{block:,} (× {block / alive:.2f})" for block in blocks.values()]
            print(f"| {name} | {form} | {alive:,} | " + " | ".join(cells) + " |", flush=True)
    for level, found in ratios.items():
        middle = statistics.median(found)
        print(f"{level}: × {min(found):.2f} to {max(found):.2f}, median {middle:.2f}")


def alive_bytes(graph: Graph) -> int:
    """The most bytes alive at once, without input and output, as onnxruntime's block is."""
    steps, sizes = steps_of(graph)
    ends = dict.fromkeys((graph.input.name, graph.output.name), 0)
    return most_alive(steps, sizes | ends, [graph.input.name], [graph.output.name])[0]


def block_bytes(model: bytes, level: str) -> int:
    """The size of the block that onnxruntime plans for a model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        command = [sys.executable, "-c", RUN, str(path), LEVELS[level]]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    grown = GROWS.findall(log.partition(SECOND)[2])
    return int(grown[0])


if __name__ == "__main__":
    main()
