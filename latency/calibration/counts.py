"""What ran when models were emulated: blocks of code and how often each ran, before any price.

Counts do not depend on the core whose cycles are asked for, so they are kept in a file for each
batch of models, and another core costs no further emulation.
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
"""Numbers of blocks, and how often each ran."""


@dataclass(frozen=True, slots=True)
class Node:
    """One kernel that onnxruntime launched.

    Attributes:
        name: onnxruntime's, made of the name of the first node fused into it.
        op: ONNX operator, or what onnxruntime made of it, as `FusedConv`.
        tensors: How many tensors it reads and writes; the cost of profiling grows with them.
        shape: Of the first of them.
    """

    name: str
    op: str
    tensors: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PricedNode:
    """A kernel and its cycles, onnxruntime's own profiling among them."""

    node: Node
    cycles: float


@dataclass(frozen=True, slots=True)
class Run:
    """One inference.

    Attributes:
        model: Its name.
        nodes: Its kernels; none where it was not profiled.
        cycles: Of them, or where it was not profiled, of everything.
        output: The first numbers of its output.
    """

    model: str
    nodes: tuple[PricedNode, ...]
    cycles: float
    output: tuple[float, ...]


@dataclass(frozen=True)
class CountedRun:
    """One inference before it is priced: a segment for each node, or one for everything."""

    model: str
    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]
    output: tuple[float, ...]


@dataclass(frozen=True)
class Counts:
    """A batch of inferences.

    Attributes:
        blocks: The code of each block that ran.
        runs: The inferences; a number in a segment is an index of `blocks`.
    """

    blocks: Sequence[bytes]
    runs: Sequence[CountedRun]

    def priced(self, pricer: BlockCycles) -> list[Run]:
        """The inferences with cycles on the core of `pricer`."""
        prices = pricer.of(self.blocks)
        cycles = np.array([prices[code] for code in self.blocks])
        found = []
        for run in self.runs:
            costs = [float(cycles[block] @ times) for block, times in run.segments]
            nodes = tuple(map(PricedNode, run.nodes, costs)) if run.nodes else ()
            found.append(Run(run.model, nodes, sum(costs), run.output))
        return found

    def joined(self, others: "Counts") -> "Counts":
        """These inferences and others."""
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
        """Write it, all or nothing."""
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
