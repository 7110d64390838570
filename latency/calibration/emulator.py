"""Runs models on emulated aarch64 and counts the code that each kernel executed."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.blocks import INSTRUCTION_BYTES, BlockCycles
from nas_sv2.latency.calibration.counts import CountedRun, Counts, Node, Segment
from nas_sv2.latency.calibration.workshop import Workshop
from nas_sv2.latency.emulated.arm_cores import Core, Guest

GUEST_SCRIPT = Path(__file__).with_name("guest.py")
# In a profiled run onnxruntime reads the clock four times before the first kernel, then before and
# after each kernel. Kernel i is therefore segment 4 + 2i of the region (checked by `_events`).
FIRST_KERNEL, SEGMENTS_PER_KERNEL = 4, 2


@dataclass(frozen=True, slots=True)
class Emulator:
    """Runs models on a guest, in the folder of a workshop."""

    workshop: Workshop
    guest: Guest

    def run(self, models: Sequence[Path], work: Path, *, profile: bool) -> Counts:
        """Run one inference of each model, in order, and count its code.

        The models and all files of the run are removed from `work`.

        Raises:
            MeasurementError: If the emulated process failed; the message ends with its output.
        """
        work.mkdir(parents=True, exist_ok=True)
        output, shop = work / "runs.jsonl", self.workshop
        home = shop.sysroot / "usr"
        command: list[str | Path] = [
            shop.tools.qemu,
            *("-L", shop.root_for(self.guest), "-cpu", self.guest.qemu),
            *("-plugin", f"{shop.plugin},out={work / 'run'}"),
            *("-E", "LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu"),
            *("-E", f"PYTHONHOME={home}", "-E", f"PYTHONPATH={shop.packages}"),
            *("-E", "PYTHONDONTWRITEBYTECODE=1", "-E", "OMP_NUM_THREADS=1"),
            *(shop.guest_python, "-S", GUEST_SCRIPT, output),
            "profile" if profile else "whole",
        ]
        done = subprocess.run(
            command,
            input="".join(f"{path}\n" for path in models),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MeasurementError(f"the emulated onnxruntime failed: {done.stderr[-1000:]}")
        counts = _read(work)
        for run in counts.runs:
            (work / f"{run.model}.onnx").unlink(missing_ok=True)
        for file in (*work.glob("run*"), *work.glob("*.json")):
            file.unlink()
        return counts

    def pricer(self, core: Core) -> BlockCycles:
        """Return the model that turns counts into cycles on `core`."""
        tools = self.workshop.tools
        memory = self.workshop.folder / f"cycles_{core.llvm}.json"
        return BlockCycles(tools.llvm_mc, tools.llvm_mca, core.llvm, memory)


Regions = dict[int, list[Segment]]


def _read(work: Path) -> Counts:
    """Read the files of plugin and guest; leave out blocks that did not run in a region."""
    code, regions = _blocks(work / "run.blocks"), _regions(work / "run.counts")
    counted = []
    for line in (work / "runs.jsonl").read_text().splitlines():
        run = json.loads(line)
        segments = regions[run["region"]]
        nodes: tuple[Node, ...] = ()
        if run["profile"]:
            events = _events(Path(run["profile"]), len(segments))
            nodes = tuple(map(_node, events))
            last = FIRST_KERNEL + SEGMENTS_PER_KERNEL * len(nodes)
            segments = segments[FIRST_KERNEL:last:SEGMENTS_PER_KERNEL]
        else:
            segments = [_joined(segments)]
        model = Path(run["model"]).stem
        counted.append(CountedRun(model, nodes, tuple(segments), tuple(run["output"])))
    ran = np.unique(np.concatenate([block for run in counted for block, _ in run.segments]))
    runs = [
        CountedRun(
            run.model,
            run.nodes,
            tuple((np.searchsorted(ran, block), times) for block, times in run.segments),
            run.output,
        )
        for run in counted
    ]
    return Counts([code[number] for number in ran], runs)


def _joined(segments: Sequence[Segment]) -> Segment:
    blocks, inverse = np.unique(
        np.concatenate([block for block, _ in segments]), return_inverse=True
    )
    times = np.zeros(len(blocks), np.int64)
    np.add.at(times, inverse, np.concatenate([times for _, times in segments]))
    return blocks, times


def _blocks(path: Path) -> list[bytes]:
    data, blocks, at = path.read_bytes(), [], 0
    while at < len(data):
        start = at + 4
        at = start + INSTRUCTION_BYTES * int.from_bytes(data[at:start], "little")
        blocks.append(data[start:at])
    return blocks


def _regions(path: Path) -> Regions:
    data, at = np.fromfile(path, np.int64), 0
    regions: Regions = {}
    while at < len(data):
        region, pairs = int(data[at]), int(data[at + 1])
        at += 2
        counts = data[at : at + 2 * pairs].reshape(-1, 2)
        at += 2 * pairs
        regions.setdefault(region, []).append((counts[:, 0], counts[:, 1]))
    return regions


def _events(profile: Path, segments: int) -> Iterator[dict[str, Any]]:
    events = [
        event
        for event in json.loads(profile.read_text())
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    events = events[len(events) // 2 :]  # the warm-up comes first
    if segments < FIRST_KERNEL + SEGMENTS_PER_KERNEL * len(events):
        raise MeasurementError(f"{profile}: {segments} segments for {len(events)} kernels")
    yield from events


def _node(event: dict[str, Any]) -> Node:
    arguments = event["args"]
    inputs = arguments["input_type_shape"]
    (shape,) = inputs[0].values()
    return Node(
        event["name"].removesuffix("_kernel_time"),
        arguments["op_name"],
        len(inputs) + len(arguments["output_type_shape"]),
        tuple(shape),
    )
