"""From a configuration to a latency: our way against the usual way, both from process start.

The usual way is what most search scripts do: build the torch module, `torch.onnx.export` it (by
its default exporter, and by the older one that it keeps), open an onnxruntime session and take the
mean of 100 runs after 10. Ours is `nas-sv2 measure`: the ONNX
is written directly, and an agent runs it until the 95 % interval of the median is within 1 %.

    python benchmarks/turnaround.py
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORK = "shufflenet_v2_x1_0"
ROUNDS = 3

USUAL = """
import io, time, numpy, onnxruntime, torch
from torchvision.models import shufflenet_v2_x1_0
network = shufflenet_v2_x1_0(weights=None).eval()
file = io.BytesIO()
program = torch.onnx.export(
    network, (torch.zeros(1, 3, 224, 224),), None if DYNAMO else file, dynamo=DYNAMO
)
if DYNAMO:
    program.save(file)
session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: numpy.zeros((1, 3, 224, 224), numpy.float32)}
times = []
for _ in range(110):
    start = time.perf_counter()
    session.run(None, feed)
    times.append(time.perf_counter() - start)
print(1000 * sum(times[10:]) / 100)
"""

BUILD = f"""
import time
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import random_weights
times = []
for seed in range(10):
    start = time.perf_counter()
    graph = lower(reference("{NETWORK}"))
    build_onnx(*without_shuffles(graph, random_weights(graph, seed)))
    times.append(time.perf_counter() - start)
print(sorted(times)[5])
"""


def main() -> None:
    """Alternate both ways and print the ratio of their medians."""
    console_script = shutil.which("nas-sv2", path=Path(sys.executable).parent)
    assert console_script, "install nas-sv2 into the environment of this interpreter first"
    times: dict[str, list[float]] = {"default": [], "older": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        command = [console_script, "measure", NETWORK, "--target", "cpu", "--fresh"]
        for _ in range(ROUNDS):
            for name, dynamo in (("default", True), ("older", False)):
                code = f"DYNAMO = {dynamo}\n{USUAL}"
                usual = [sys.executable, "-W", "ignore", "-c", code]
                times[name].append(_seconds(usual, folder))
            times["ours"].append(_seconds(command, folder))
    build_s = float(subprocess.check_output([sys.executable, "-c", BUILD], text=True))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"configuration to latency of {NETWORK}, process start included, median of {ROUNDS}:")
    print(f"  nas-sv2 measure                                  {medians['ours']:6.2f} s")
    for name in ("default", "older"):
        ratio = medians[name] / medians["ours"]
        print(
            f"  torch.onnx.export ({name:7}), mean of 100 runs   {medians[name]:6.2f} s, "
            f"{ratio:.1f} times as long"
        )
    print("target: the usual way takes at least 5 times as long")
    print(f"the ONNX alone, configuration to bytes       {build_s:6.3f} s (target: under 0.2)")


def _seconds(command: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
