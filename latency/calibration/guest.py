"""Runs inside the emulated aarch64 Python: marks one inference of each model for the plugin.

    guest.py OUTPUT profile|whole   < paths of models, one per line

A `.onnx` file runs in onnxruntime, a `.tflite` file in LiteRT. `profile` turns onnxruntime's
profiler on, whose clock calls cut the region at every kernel. `whole` leaves it off, for the cost
of an inference as shipped; LiteRT's package has no profiler. OUTPUT receives JSON lines with
model, region number and profile file.

The script needs only the standard library, numpy and the runtime. No module imports it.
"""

import contextlib
import json
import os
import sys

import numpy as np

MARK = 0x5EED0000


def mark(region: int) -> None:
    """Start a region (0) or end it under a number, by a system call that fails without effect."""
    with contextlib.suppress(OSError):
        os.lseek(-1, MARK + region, os.SEEK_SET)


def run(path: str, region: int, profiling: bool) -> dict[str, object]:
    """Warm up once, then run once inside the region."""
    profile = None
    if path.endswith(".tflite"):
        in_litert(path, region)
    else:
        profile = in_onnxruntime(path, region, profiling)
    return {"model": path, "region": region, "profile": profile}


def in_onnxruntime(path: str, region: int, profiling: bool) -> str | None:
    """Run an ONNX file; return the file of its profile."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = profiling
    options.profile_file_prefix = path.removesuffix(".onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    feeds = {
        value.name: generator.standard_normal(value.shape, np.float32)
        for value in session.get_inputs()
    }
    names = [value.name for value in session.get_outputs()]
    session.run(names, feeds)
    mark(0)
    session.run(names, feeds)
    mark(region)
    return session.end_profiling() if profiling else None


def in_litert(path: str, region: int) -> None:
    """Run a `.tflite` file with XNNPACK; input and output stay in the runtime's own memory."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=path, num_threads=1)
    network.allocate_tensors()
    generator = np.random.default_rng(0)
    for value in network.get_input_details():
        images = generator.standard_normal(value["shape"]).astype(np.float32)
        network.set_tensor(value["index"], images)
    network.invoke()
    mark(0)
    network.invoke()
    mark(region)


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        for number, line in enumerate(sys.stdin, 1):
            file.write(json.dumps(run(line.strip(), number, sys.argv[2] == "profile")) + "\n")
            file.flush()
