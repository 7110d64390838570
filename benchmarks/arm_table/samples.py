"""Calibration runs to samples: a kernel and its cycles, free of what profiling itself costs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from arm_table.emulator import NodeCost, Run
from nas_sv2.latency.kernels import Kernel, kernels_of
from nas_sv2.space.graph import Graph
from nas_sv2.space.onnx_lowering import build_onnx
from nas_sv2.space.weights import random_weights


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a run costs beside its kernels, in cycles.

    Attributes:
        per_node: What profiling adds to a node, less the dispatch that every node has unprofiled.
        per_tensor: What it adds for every tensor whose shape it writes down.
        per_run: Python's call of an inference and onnxruntime's own start and end.
    """

    per_node: float
    per_tensor: float
    per_run: float

    @classmethod
    def fit(cls, profiled: Sequence[Run], whole: Sequence[Run]) -> "Overhead":
        """By least squares over the same models with and without profiling."""
        terms = np.array([[len(r.nodes), _tensors(r.nodes), -1.0] for r in profiled])
        excess = np.array(
            [
                sum(node.cycles for node in run.nodes) - bare.cycles
                for run, bare in zip(profiled, whole, strict=True)
            ]
        )
        return cls(*map(float, np.linalg.lstsq(terms, excess, rcond=None)[0]))

    def of(self, nodes: Sequence[NodeCost]) -> float:
        """What profiling added to these nodes."""
        return self.per_node * len(nodes) + self.per_tensor * _tensors(nodes)


def _tensors(nodes: Sequence[NodeCost]) -> int:
    return sum(node.tensors for node in nodes)


@dataclass(frozen=True, slots=True)
class Sample:
    """One kernel as it was run."""

    kernel: Kernel
    cycles: float


def write_model(name: str, graph: Graph, folder: Path) -> Path:
    """The ONNX model of any graph; a tiny one's output is a map, whose shape is left open."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load_model_from_string(build_onnx(graph, random_weights(graph, seed=0)))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def samples(graph: Graph, run: Run, overhead: Overhead) -> Iterable[Sample]:
    """The kernels of `graph`, each with what its nodes cost.

    Raises:
        RuntimeError: onnxruntime ran another set of kernels than `kernels_of` foresees.
    """
    owner = {}
    for kernel in kernels_of(graph):
        first = next(op for op in graph.ops if op.name == kernel.ops[0])
        for name in (first.name, *(value.name for value in first.outputs)):
            owner[name] = kernel
    nodes: dict[Kernel, list[NodeCost]] = defaultdict(list)
    for node in run.nodes:
        # A shuffle's and a classifier's nodes are named NAME.part, an operator's as its output.
        found = owner.get(node.node) or owner.get(node.node.rpartition(".")[0])
        if found is None:
            raise RuntimeError(f"{run.model}: onnxruntime ran {node.node}, which no kernel covers")
        nodes[found].append(node)
    for kernel in kernels_of(graph):
        if kernel not in nodes:
            raise RuntimeError(f"{run.model}: onnxruntime did not run {kernel.ops} on its own")
        cycles = sum(node.cycles for node in nodes[kernel]) - overhead.of(nodes[kernel])
        yield Sample(kernel, max(cycles, 0.0))
