"""Runs inside the emulated aarch64 Python: marks one inference of each model for the plugin.

    guest.py OUTPUT profile|whole   < paths of models, one per line

A `.onnx` file runs in onnxruntime, a `.tflite` file in LiteRT. A `.ncnn` file runs in ncnn, and a
`.ncnn16` file in its half precision. It holds the length of the `.param`, the `.param` and the
`.bin`. `profile` turns onnxruntime's
profiler on, whose clock calls cut the region at every kernel. `whole` leaves it off, for the cost
of an inference as shipped; the packages of LiteRT and ncnn have no profiler. OUTPUT receives JSON
lines with model, region number and profile file.

The script needs only the standard library, numpy and the runtime. No module imports it.
"""

import contextlib
import json
import os
import sys
import tempfile

import numpy as np

MARK = 0x5EED0000
HALF_PRECISION = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
HALF_FILE = ".ncnn16"
PACKS = {False: (4,), True: (8, 4)}  # channels that ncnn keeps together, by half precision
AS_IT_IS = 1  # ncnn's type of a result that is left packed


def mark(region: int) -> None:
    """Start a region (0) or end it under a number, by a system call that fails without effect."""
    with contextlib.suppress(OSError):
        os.lseek(-1, MARK + region, os.SEEK_SET)


def run(path: str, region: int, profiling: bool) -> dict[str, object]:
    """Warm up once, then run once inside the region."""
    profile = None
    if path.endswith(".tflite"):
        in_litert(path, region)
    elif path.endswith((".ncnn", HALF_FILE)):
        in_ncnn(path, region)
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


def in_ncnn(path: str, region: int) -> None:
    """Run the two files of ncnn; input and output are packed as between its layers."""
    import ncnn

    half = path.endswith(HALF_FILE)
    with open(path, "rb") as file:
        length, _, files = file.read().partition(b"\n")
    param, weights = files[: int(length)].decode(), files[int(length) :]
    network = ncnn.Net()
    network.opt.num_threads = 1
    for option in HALF_PRECISION:
        setattr(network.opt, option, half)
    with tempfile.NamedTemporaryFile() as held:
        held.write(weights)
        held.flush()
        if network.load_param_mem(param) or network.load_model(held.name):
            sys.exit(f"ncnn refuses {path}")
    (words,) = [line.split() for line in param.splitlines() if line.startswith("Input ")]
    width, height, channels = (int(word.partition("=")[2]) for word in words[5:8])
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal((channels, height, width)).astype(np.float32)
    image = ncnn.Mat(numbers).clone()  # a Mat does not keep the array that it stands on
    if half:
        image = ncnn.cast_float32_to_float16(image)
    image = ncnn.convert_packing(image, next((n for n in PACKS[half] if channels % n == 0), 1))
    (output,) = network.output_names()

    def once() -> None:
        # An extractor must end before its network does.
        extractor, found = network.create_extractor(), ncnn.Mat()
        extractor.input(words[4], image)
        failed = extractor.extract(output, found, AS_IT_IS)
        if failed:
            sys.exit(f"ncnn does not run {path} (code {failed})")

    once()
    once()
    mark(0)
    once()
    mark(region)


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        for number, line in enumerate(sys.stdin, 1):
            file.write(json.dumps(run(line.strip(), number, sys.argv[2] == "profile")) + "\n")
            file.flush()
