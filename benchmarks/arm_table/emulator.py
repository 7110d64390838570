"""Runs models on emulated aarch64 and says what each of their kernels costs in cycles."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arm_table.block_cycles import INSTRUCTION_BYTES, BlockCycles

HERE = Path(__file__).parent
# onnxruntime reads the clock four times in a profiled run before the first kernel, and then before
# and after each kernel; so kernel i is segment 4 + 2i of the region (checked by `_kernels`).
FIRST_KERNEL, SEGMENTS_PER_KERNEL = 4, 2


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One kernel of one model.

    Attributes:
        node: onnxruntime's name for it, made of the name of the first node fused into it.
        op: ONNX operator, or `FusedConv`.
        cycles: With onnxruntime's own profiling.
        instructions: The same.
        tensors: How many tensors it reads and writes; the cost of profiling grows with them.
    """

    node: str
    op: str
    cycles: float
    instructions: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Run:
    """One inference: its kernels (none where it was not profiled), its total and its output."""

    model: str
    nodes: tuple[NodeCost, ...]
    cycles: float
    instructions: int
    output: tuple[float, ...]


@dataclass(frozen=True)
class Emulator:
    """What `setup.sh` built in `folder`, for one core."""

    folder: Path
    core: str = "cortex-a57"

    def run(self, models: Sequence[Path], work: Path, *, profile: bool) -> list[Run]:
        """One inference of each model, in order; files are left in `work`."""
        work.mkdir(parents=True, exist_ok=True)
        output = work / "runs.jsonl"
        plugin = self.folder / "plugin" / "block_counts.so"
        python = self.folder / "sysroot" / "usr"
        command: list[str | Path] = [
            self.folder / "host" / "usr" / "bin" / "qemu-aarch64",
            *("-L", self.folder / "sysroot", "-cpu", "cortex-a57"),
            *("-plugin", f"{plugin},out={work / 'run'}"),
            *("-E", "LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu"),
            *("-E", f"PYTHONHOME={python}", "-E", f"PYTHONPATH={self.folder / 'packages'}"),
            *("-E", "PYTHONDONTWRITEBYTECODE=1", "-E", "OMP_NUM_THREADS=1"),
            *(python / "bin" / "python3.11", "-S", HERE / "guest.py", output),
            "profile" if profile else "whole",
        ]
        subprocess.run(
            command,
            input="".join(f"{path}\n" for path in models),
            text=True,
            env=self.environment,
            check=True,
        )
        return list(self._read(work))

    @cached_property
    def environment(self) -> dict[str, str]:
        """Where the unpacked host tools find their libraries."""
        libraries = self.folder / "host" / "usr" / "lib" / "x86_64-linux-gnu"
        return {**os.environ, "LD_LIBRARY_PATH": str(libraries)}

    @cached_property
    def versions(self) -> dict[str, str]:
        """The versions that decide the numbers."""

        def first_line(tool: str, word: str) -> str:
            done = subprocess.run(
                [self.folder / "host" / "usr" / "bin" / tool, "--version"],
                capture_output=True,
                text=True,
                env=self.environment,
                check=True,
            )
            line = next(line for line in done.stdout.splitlines() if word in line)
            return line.partition("version ")[2].split()[0]

        (wheel,) = (self.folder / "packages").glob("onnxruntime-*.dist-info")
        return {
            "onnxruntime": wheel.name.removeprefix("onnxruntime-").removesuffix(".dist-info"),
            "qemu": first_line("qemu-aarch64", "version"),
            "llvm": first_line("llvm-mca-19", "LLVM version"),
        }

    def _read(self, work: Path) -> Iterator[Run]:
        blocks = _blocks(work / "run.blocks")
        regions = _regions(work / "run.counts")
        sizes = np.array([len(code) // INSTRUCTION_BYTES for code in blocks])
        cycles = self._cycles(blocks, regions)
        for line in (work / "runs.jsonl").read_text().splitlines():
            run = json.loads(line)
            segments = [
                (float(cycles[block] @ count), int(sizes[block] @ count))
                for block, count in regions[run["region"]]
            ]
            yield Run(
                Path(run["model"]).stem,
                _kernels(Path(run["profile"]), segments) if run["profile"] else (),
                sum(cycles for cycles, _ in segments),
                sum(instructions for _, instructions in segments),
                tuple(run["output"]),
            )

    def _cycles(self, blocks: list[bytes], regions: "Regions") -> NDArray[np.float64]:
        """Cycles of every block that ran in a region; NaN elsewhere."""
        pricer = BlockCycles(
            self.folder / "host" / "usr" / "bin",
            self.environment,
            self.core,
            self.folder / f"cycles_{self.core}.json",
        )
        ran = sorted({int(b) for segments in regions.values() for s in segments for b in s[0]})
        prices = pricer.of(blocks[number] for number in ran)
        cycles = np.full(len(blocks), np.nan)
        cycles[ran] = [prices[blocks[number]] for number in ran]
        return cycles


Segment = tuple[NDArray[np.int64], NDArray[np.int64]]  # numbers of blocks, times run
Regions = dict[int, list[Segment]]


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


def _kernels(profile: Path, segments: Sequence[tuple[float, int]]) -> tuple[NodeCost, ...]:
    events = [
        event
        for event in json.loads(profile.read_text())
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    events = events[len(events) // 2 :]  # the warm-up comes first
    if len(segments) < FIRST_KERNEL + SEGMENTS_PER_KERNEL * len(events):
        raise RuntimeError(f"{profile}: {len(segments)} segments for {len(events)} kernels")
    return tuple(
        NodeCost(
            event["name"].removesuffix("_kernel_time"),
            event["args"]["op_name"],
            *segments[FIRST_KERNEL + SEGMENTS_PER_KERNEL * index],
            len(event["args"]["input_type_shape"]) + len(event["args"]["output_type_shape"]),
        )
        for index, event in enumerate(events)
    )
