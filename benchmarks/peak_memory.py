"""How much memory onnxruntime and LiteRT set aside for activations.

The first table is of onnxruntime's blocks beside the bytes that are alive at once. The second
holds our repetition of both planners (`memory_in`) against the runtimes, on the networks of the
first table and on random ones of four spaces.

onnxruntime plans one block for the activations of a run. It keeps a buffer for later values of the
same shape, and places buffers in the order in which they come, so that gaps remain. Its log says
how large the block is when the arena grows. The arena is emptied after each run
(`memory.enable_memory_arena_shrinkage`), so that it grows in the second run, which is the first to
have a plan. The caller holds input and output, so neither is in the block.

LiteRT's arena is read from the addresses of its tensors, with its own kernels and not XNNPACK.

    python benchmarks/peak_memory.py
"""

import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.graph.peak_memory import most_alive, steps_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.memory_plan import memory_in, onnxruntime_block
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.tflite_lowering import build_tflite
from nas_sv2.space.runtimes.weights import random_weights

NETWORKS = (
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("shufflenet_v2_50", "shufflenet_v1_g3_x1_0", "mobilenet_v1_x1_0", "mobilenet_v2_x1_0"),
    *("resnet50", "light_densenet_x1_0"),
)
SPACES, RANDOM = ("40M", "140M", "300M", "500M"), 60
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
            blocks = {
                level: block_bytes(build_onnx(graph, held), LEVELS[level]) for level in LEVELS
            }
            for level, block in blocks.items():
                ratios[level].append(block / alive)
            cells = [f"{block:,} (× {block / alive:.2f})" for block in blocks.values()]
            print(f"| {name} | {form} | {alive:,} | " + " | ".join(cells) + " |", flush=True)
    for level, found in ratios.items():
        middle = statistics.median(found)
        print(f"{level}: × {min(found):.2f} to {max(found):.2f}, median {middle:.2f}")
    print_plans()


def print_plans() -> None:
    """Print our plans of both runtimes beside theirs, and the errors on random networks."""
    print("| network | onnxruntime, ours | its block | LiteRT, ours | its arena |")
    print("| --- | --- | --- | --- | --- |")
    for name in NETWORKS:
        cells = [f"{size:,}" for pair in plans(lower(published_network(name))) for size in pair]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)
    errors: dict[str, list[float]] = {"onnxruntime": [], "litert": []}
    for seed in range(RANDOM):
        space = open_space(SPACES[seed % len(SPACES)])
        graph = lower(space.sample(RandomSuggester(random.Random(seed))))
        for runtime, (ours, theirs) in zip(errors, plans(graph), strict=True):
            errors[runtime].append(ours / theirs - 1)
    for runtime, found in errors.items():
        exact = sum(abs(error) < 1e-4 for error in found)
        print(f"{runtime}: {exact} of {RANDOM} exact, {min(found):+.1%} to {max(found):+.1%}")


def plans(graph: Graph) -> tuple[tuple[int, int], tuple[int, int]]:
    """Our plan and the runtime's: of onnxruntime's block, fused, and of LiteRT's arena."""
    free = without_shuffles(graph, random_weights(graph, 0))
    block = block_bytes(build_onnx(*free), LEVELS["fused"])
    ours = memory_in(graph, "litert").activation_bytes
    return (onnxruntime_block(free[0]), block), (ours, litert_arena(build_tflite(*free)))


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
        command = [sys.executable, "-c", RUN, str(path), level]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    grown = GROWS.findall(log.partition(SECOND)[2])
    return int(grown[0])


def litert_arena(model: bytes) -> int:
    """The bytes between the first and the last address of what LiteRT's own kernels compute."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    read = schema.ModelT.InitFromPackedBuf(model, 0)
    held = {
        place
        for place, tensor in enumerate(read.subgraphs[0].tensors)
        if read.buffers[tensor.buffer].data is not None
    }
    network = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    network.allocate_tensors()
    views = [
        network.tensor(tensor["index"])()
        for tensor in network.get_tensor_details()
        if tensor["index"] not in held
    ]
    starts = [int(view.__array_interface__["data"][0]) for view in views]
    ends = [start + view.nbytes for start, view in zip(starts, views, strict=True)]
    return int(max(ends) - min(starts))


if __name__ == "__main__":
    main()
