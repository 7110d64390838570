"""Turns calibration runs into samples: a kernel and its cycles, without the cost of profiling."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.counts import PricedNode, Run
from nas_sv2.latency.kernels.int8 import LAYOUT
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.runtimes.onnx_lowering import OUTPUT, build_onnx
from nas_sv2.space.runtimes.quantization import quantized
from nas_sv2.space.runtimes.weights import random_weights

# Suffix that onnxruntime adds to the name of a node derived from another.
MADE = re.compile(r"(_token_\d+)+$")
ENDS = ("linear", "dequantize")  # kernels that end real networks, too


@dataclass(frozen=True, slots=True)
class Overhead:
    """The cost of a run in addition to its kernels, in cycles.

    It is fitted for each core: the profiler's text costs an in-order core twice as much.

    Attributes:
        per_node: Profiling of a node, minus the dispatch that an unprofiled node also has.
        per_tensor: Profiling of a tensor, whose shape is written.
        per_run: Python's call of an inference, and onnxruntime's own start and end.
        per_output: Memory for the network's output, which the last kernel allocates. Memory of
            the other kernels is planned in advance.
    """

    per_node: float
    per_tensor: float
    per_run: float
    per_output: float

    @classmethod
    def fit(
        cls, profiled: Sequence[Run], whole: Sequence[Run], pairs: Sequence[tuple[Run, Run]]
    ) -> "Overhead":
        """Fit by least squares over the same models with and without profiling.

        Args:
            profiled: Runs of the models with profiling.
            whole: Runs of the same models without profiling.
            pairs: Runs of a kernel at the end of a model, and of the same kernel before another.
        """
        ends = [last.nodes[0].cycles - first.nodes[0].cycles for last, first in pairs]
        terms = np.array([[len(r.nodes), _tensors(r.nodes), -1.0] for r in profiled])
        excess = np.array(
            [run.cycles - bare.cycles for run, bare in zip(profiled, whole, strict=True)]
        )
        node, tensor, run = map(float, np.linalg.lstsq(terms, excess, rcond=None)[0])
        return cls(node, tensor, run, float(np.median(ends)) if ends else 0.0)

    def of(self, nodes: Sequence[PricedNode]) -> float:
        """Return the cycles that profiling added to these nodes."""
        return self.per_node * len(nodes) + self.per_tensor * _tensors(nodes)


def _tensors(nodes: Sequence[PricedNode]) -> int:
    return sum(node.node.tensors for node in nodes)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a kernel.

    Attributes:
        kernel: The kernel.
        cycles: Cycles of the run.
        sizes: Channels of each map that the kernel reads.
    """

    kernel: Kernel
    cycles: float
    sizes: tuple[int, ...]


def write_model(name: str, graph: Graph, precision: ArmPrecision, folder: Path) -> Path:
    """Write the ONNX model of a graph; the output's shape stays open, as it may be a map."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load_model_from_string(build_onnx(graph, random_weights(graph, seed=0)))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    body = model.SerializeToString()
    if precision == "int8":
        image = graph.input
        shape = (1, image.channels, image.height, image.width)
        body = quantized(body, np.random.default_rng(0).standard_normal(shape, np.float32))
    path = folder / f"{name}.onnx"
    path.write_bytes(body)
    return path


def samples(
    graph: Graph, run: Run, overhead: Overhead, precision: ArmPrecision
) -> Iterable[Sample]:
    """Yield the kernels of `graph`, each with the cycles of its nodes.

    Raises:
        MeasurementError: If onnxruntime ran other kernels than `kernels_of` predicts.
    """
    kernels = kernels_of(graph, precision)
    owners = _Owners(graph, kernels)
    nodes: dict[Kernel, list[PricedNode]] = defaultdict(list)
    for node in run.nodes:
        nodes[owners.of(node, run.model)].append(node)
    for kernel in kernels:
        if kernel not in nodes:
            raise MeasurementError(f"{run.model}: onnxruntime did not run {kernel.ops} by itself")
        cycles = sum(node.cycles for node in nodes[kernel]) - overhead.of(nodes[kernel])
        if graph.output.name in _written(graph, kernel) and kernel.kind not in ENDS:
            cycles -= overhead.per_output
        sizes = next((op.inputs for op in graph.ops if op.name == kernel.ops[0]), (kernel.source,))
        yield Sample(kernel, max(cycles, 1.0), tuple(value.channels for value in sizes))


def _written(graph: Graph, kernel: Kernel) -> set[str]:
    return {value.name for op in graph.ops if op.name in kernel.ops for value in op.outputs}


class _Owners:
    """The map from a run's nodes to the kernels of its graph."""

    def __init__(self, graph: Graph, kernels: Sequence[Kernel]) -> None:
        self.by_name: dict[str, Kernel] = {}
        self.layouts: list[Kernel] = []
        ops = {op.name: op for op in graph.ops}
        for kernel in kernels:
            if kernel.kind.startswith(LAYOUT):
                self.layouts.append(kernel)
                continue
            names = [kernel.ops[0]]
            if kernel.ops[0] in ops:
                names += [value.name for value in ops[kernel.ops[0]].outputs]
            if kernel.kind == "dequantize":
                names.append(f"{OUTPUT} dequantize")
            self.by_name.update(dict.fromkeys(names, kernel))

    def of(self, node: PricedNode, model: str) -> Kernel:
        """Return the kernel of this node; for a transpose, the next kernel of its shape."""
        for name in _possible_names(MADE.sub("", node.node.name)):
            if name in self.by_name:
                return self.by_name[name]
        for kernel in self.layouts:
            value = kernel.source
            sides, channels = (value.height, value.width), value.channels
            planes = kernel.kind.startswith("to pixels")
            if node.node.shape == ((1, channels, *sides) if planes else (1, *sides, channels)):
                self.layouts.remove(kernel)
                return kernel
        raise MeasurementError(f"{model}: onnxruntime ran {node.node}, which no kernel covers")


def _possible_names(name: str) -> Iterator[str]:
    """Yield the names that kernels may have for the node `name`.

    Nodes of a shuffle and a classifier are named NAME.part, those of an operator as its output.
    """
    yield name
    yield name.rpartition(".")[0]
    for ending, kind in (("_QuantizeLinear", "quantize"), ("_DequantizeLinear", "dequantize")):
        if name.endswith(ending):
            yield f"{name.removesuffix(ending)} {kind}"
