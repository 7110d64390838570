"""Counts of an emulation: the blocks of code that ran and how often, before any price.

Counts do not depend on the core that is priced. They are kept in a file for each batch of models,
so that another core needs no further emulation.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_sv2.files import write_whole
from nas_sv2.latency.calibration.blocks import INSTRUCTION_BYTES, BlockCycles

Segment = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of blocks, and the number of runs of each."""


@dataclass(frozen=True, slots=True)
class Node:
    """One kernel that onnxruntime launched.

    Attributes:
        name: Name by onnxruntime, which derives it from the first node fused into the kernel.
        op: ONNX operator, or the one that onnxruntime fused it into, such as `FusedConv`.
        tensors: Number of tensors read and written; the cost of profiling grows with it.
        shape: Shape of the first tensor read.
    """

    name: str
    op: str
    tensors: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PricedNode:
    """A kernel and its cycles, including onnxruntime's own profiling."""

    node: Node
    cycles: float


@dataclass(frozen=True, slots=True)
class Run:
    """One inference.

    Attributes:
        model: Name of the model.
        nodes: Kernels that ran; empty if the run was not profiled.
        cycles: Cycles of the kernels, or of everything if the run was not profiled.
        output: First numbers of the output.
    """

    model: str
    nodes: tuple[PricedNode, ...]
    cycles: float
    output: tuple[float, ...]


@dataclass(frozen=True)
class CountedRun:
    """One inference before it is priced: a segment for each node, or one for all code."""

    model: str
    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]
    output: tuple[float, ...]


@dataclass(frozen=True)
class Counts:
    """A batch of inferences.

    Attributes:
        blocks: Code of each block that ran.
        runs: Inferences; block numbers in their segments are indices of `blocks`.
    """

    blocks: Sequence[bytes]
    runs: Sequence[CountedRun]

    def priced(self, pricer: BlockCycles) -> list[Run]:
        """Return the inferences with cycles on the core of `pricer`."""
        prices = pricer.of(self.blocks)
        cycles = np.array([prices[code] for code in self.blocks])
        found = []
        for run in self.runs:
            costs = [float(cycles[block] @ times) for block, times in run.segments]
            nodes = tuple(map(PricedNode, run.nodes, costs)) if run.nodes else ()
            found.append(Run(run.model, nodes, sum(costs), run.output))
        return found

    def joined(self, others: "Counts") -> "Counts":
        """Return these inferences and others."""
        codes = dict.fromkeys((*self.blocks, *others.blocks))
        blocks = {code: number for number, code in enumerate(codes)}
        runs = []
        for counts in (self, others):
            number = np.array([blocks[code] for code in counts.blocks], np.int64)
            runs += [
                replace(
                    run, segments=tuple((number[block], times) for block, times in run.segments)
                )
                for run in counts.runs
            ]
        return Counts(list(blocks), runs)

    def save(self, path: Path) -> None:
        """Write the file, all or nothing."""
        segments = [segment for run in self.runs for segment in run.segments]
        described = [
            {
                "model": run.model,
                "nodes": [asdict(node) for node in run.nodes],
                "segments": len(run.segments),
                "output": run.output,
            }
            for run in self.runs
        ]
        arrays: dict[str, Any] = {
            "runs": np.array(json.dumps(described)),
            "code": np.frombuffer(b"".join(self.blocks), np.uint32),
            "code_ends": _ends([len(code) // INSTRUCTION_BYTES for code in self.blocks]),
            "block": np.concatenate([block for block, _ in segments]),
            "times": np.concatenate([times for _, times in segments]),
            "segment_ends": _ends([len(block) for block, _ in segments]),
        }
        write_whole(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "Counts":
        """Read what `save` wrote."""
        with np.load(path) as file:
            code, block, times = file["code"], file["block"], file["times"]
            blocks = [code[a:b].tobytes() for a, b in pairwise([0, *file["code_ends"].tolist()])]
            cuts = pairwise([0, *file["segment_ends"].tolist()])
            segments = iter([(block[a:b], times[a:b]) for a, b in cuts])
            runs = [_run(described, segments) for described in json.loads(str(file["runs"]))]
        return cls(blocks, runs)


def _ends(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.cumsum(lengths, dtype=np.int64)


def _run(described: dict[str, Any], segments: Any) -> CountedRun:
    nodes = (
        Node(node["name"], node["op"], node["tensors"], tuple(node["shape"]))
        for node in described["nodes"]
    )
    return CountedRun(
        described["model"],
        tuple(nodes),
        tuple(next(segments) for _ in range(described["segments"])),
        tuple(described["output"]),
    )
