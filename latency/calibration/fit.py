"""Fits the entries of a table: a few coefficients for each kind of kernel and map.

Each sample of a fit is a kernel of a calibration run and its cycles, without
the cost of profiling.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from nas_sv2.errors import MeasurementError
from nas_sv2.files import write_whole
from nas_sv2.latency.calibration.emulator import PricedNode, Run
from nas_sv2.latency.emulated.kernel_table import term
from nas_sv2.latency.kernels.int8 import LAYOUT
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.model_files.model_file import join_ncnn
from nas_sv2.space.runtimes.ncnn_lowering import build_ncnn
from nas_sv2.space.runtimes.onnx_lowering import OUTPUT, build_onnx
from nas_sv2.space.runtimes.quantization import quantize
from nas_sv2.space.runtimes.tflite_lowering import build_tflite
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


def write_model(
    name: str,
    graph: Graph,
    precision: ArmPrecision,
    folder: Path,
    runtime: ArmRuntime = "onnxruntime",
) -> Path:
    """Write the file of a graph; an ONNX output's shape stays open, as it may be a map."""
    folder.mkdir(parents=True, exist_ok=True)
    if runtime == "litert":
        path = folder / f"{name}.tflite"
        write_whole(path, build_tflite(graph, random_weights(graph, seed=0)))
        return path
    if runtime == "ncnn":
        ending = "ncnn16" if precision == "fp16" else "ncnn"
        path, files = folder / f"{name}.{ending}", build_ncnn(graph, random_weights(graph, 0))
        write_whole(path, join_ncnn(files.param, files.weights))
        return path
    model = onnx.load_model_from_string(build_onnx(graph, random_weights(graph, seed=0)))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    body = model.SerializeToString()
    if precision == "int8":
        image = graph.input
        shape = (1, image.channels, image.height, image.width)
        body = quantize(body, np.random.default_rng(0).standard_normal(shape, np.float32))
    path = folder / f"{name}.onnx"
    write_whole(path, body)
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


Numbers = NDArray[np.float64]
Terms = tuple[str, ...]

PLANE: Terms = ("1", "out")
BILINEAR: Terms = ("1", "in", "out", "in*out")
PARTS: Terms = ("1", "parts", "out")
LOOKED_UP = "looked*out"
FUSED: Terms = ("relu", "relu*out", "sigmoid", "sigmoid*out", "add", "add*out")
# ReLU may cost less with a sum than alone, which needs a term: coefficients are never negative.
LONE: Terms = ("lone", "lone*out", "sigmoid", "sigmoid*out", "add", "add*out")
FP32: dict[str, tuple[Terms, ...]] = {
    "pointwise": ((*BILINEAR, *FUSED), (*BILINEAR, *LONE)),
    "depthwise": ((*PLANE, "relu", "relu*out"),),
    "conv": ((*BILINEAR, *FUSED),),
    "linear": (BILINEAR,),
    "split": (PARTS,),
    "concat": (PARTS,),
}
# int8 kernels take 16, 8 or 4 channels at once, and the remainder one by one.
REST: Terms = ("out&8", "out&4", "out%4", "out?4")
INT8: dict[str, tuple[Terms, ...]] = {
    "pointwise": tuple(
        ("1", inputs, "out^4", "out^8", f"{inputs}*out^4", f"{inputs}*out^8", *REST)
        for inputs in ("in^4", "in^8", "in^16")
    ),
    "conv": (("1", "in", "out^4", "out^8", "in*out^4", "in*out^8", *REST),),
    "linear": (("1", "in^16", "out^8", "in^16*out^8", *REST), BILINEAR),
    "depthwise": (
        ("1", "out", *REST),
        ("1", "out", "out<64", "out&8", "out*out&8"),
        ("1", "out^16", "out"),
    ),
    "multiply": (("1", "out", *REST), PLANE),
    "average": (("1", "out", *REST), PLANE),
    "max": (("1", "out", "out^16", *REST), PLANE),
    "to": (("1", "out", "out^8", *REST), PLANE),
    "split": (PARTS,),
    "concat": (("1", "parts", "out", LOOKED_UP),),
}
TERMS: dict[ArmPrecision, dict[str, tuple[Terms, ...]]] = {"fp32": FP32, "int8": INT8}
# One kernel in four hundred took 20 to 120 thousand cycles more than similar ones, never less.
# Presumably the profiler's records grew just then. Kernels more than this share above a robust fit
# are left out.
MOVED_RECORDS = 0.25
ROBUST_ROUNDS, ROBUST_FLOOR = 20, 0.01  # least absolute errors by reweighting; settles in ten
SIGNIFICANT = 6  # digits; the fits are good to three


def fit(samples: Iterable[Sample], precision: ArmPrecision) -> dict[str, dict[str, Any]]:
    """Fit the entries of the table, by key."""
    by_key: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_key[sample.kernel.key].append(sample)
    return {key: _best(by_key[key], precision) for key in sorted(by_key)}


def _best(samples: Sequence[Sample], precision: ArmPrecision) -> dict[str, Any]:
    """Return the entry whose terms have the least mean error on kernels left out of the fit."""
    kind = samples[0].kernel.kind.partition(" ")[0]
    choices = TERMS[precision].get(kind, (PLANE,))
    return min(
        (_entry(samples, terms) for terms in choices), key=lambda entry: entry["error_mean"]
    )


def _entry(samples: Sequence[Sample], terms: Terms) -> dict[str, Any]:
    kernels = [sample.kernel for sample in samples]
    matrix = np.array([[term(name, kernel) for name in terms] for kernel in kernels])
    # A term is dropped if it is zero or equals an earlier one (`relu` if all kernels have it).
    used = [
        index
        for index, column in enumerate(matrix.T)
        if column.any() and not any((column == earlier).all() for earlier in matrix.T[:index])
    ]
    terms = tuple(terms[index] for index in used)
    matrix = matrix[:, used]
    cycles = np.array([sample.cycles for sample in samples])
    if LOOKED_UP in terms:
        _settle_copies(samples, matrix, cycles, terms.index(LOOKED_UP))
    widest = np.array([kernel.channels_out for kernel in kernels])
    kept = cycles < (1 + MOVED_RECORDS) * (matrix @ _robust_fit(matrix, cycles))
    kept |= widest == widest.max()  # records weigh little here, and these bound the valid range
    matrix, cycles = matrix[kept], cycles[kept]
    kernels = [kernel for kernel, is_kept in zip(kernels, kept, strict=True) if is_kept]
    errors = np.abs(leave_one_out(matrix, cycles, _positive_fit) / cycles - 1)
    left_out = len(samples) - len(kernels)
    return stated(terms, _positive_fit(matrix, cycles), kernels, errors, left_out)


def stated(
    terms: Terms,
    coefficients: Numbers,
    kernels: Sequence[Kernel],
    errors: Numbers,
    left_out: int,
    **more: int,
) -> dict[str, Any]:
    """Return the entry of a table: cycles by term, the kernels that the fit saw, its errors."""
    ranges = {
        name: [one(getattr(kernel, name) for kernel in kernels) for one in (min, max)]
        for name in ("channels_in", "channels_out")
    }
    return {
        "cycles": {
            name: float(f"{value:.{SIGNIFICANT}g}")
            for name, value in zip(terms, coefficients, strict=True)
            if value
        },
        **ranges,
        "parts": max(kernel.parts for kernel in kernels),
        "fused": sorted({"+".join(kernel.fused) for kernel in kernels}),
        "points": len(kernels),
        **more,
        "left_out": left_out,
        "error_mean": round(float(errors.mean()), 4),
        "error_max": round(float(errors.max()), 4),
    }


def _settle_copies(
    samples: Sequence[Sample], matrix: Numbers, cycles: Numbers, column: int
) -> None:
    """Find the part of each quantised concat that was copied, if any, by the fit of its cycles.

    A part with the scale of the result is copied. Any other is looked up value by value, which
    takes ten times as long. The scales depend on ranges, which a kernel does not know. The search
    finds a local optimum only, and thus starts from several points.
    """
    choices = [sample.kernel.channels_out - np.array([0, *sample.sizes]) for sample in samples]

    def explained(others: Numbers, each: float) -> Numbers:
        errors = [np.abs(others[i] + choices[i] * each - cycles[i]) for i in range(len(choices))]
        return np.array([choices[i][errors[i].argmin()] for i in range(len(choices))], float)

    usual = float(np.median(cycles / [looked_up[0] for looked_up in choices]))
    begun = [matrix[:, column].copy(), np.array([looked_up[0] for looked_up in choices], float)]
    begun += [explained(np.zeros(len(cycles)), usual * share) for share in (0.3, 0.5, 1, 2)]
    found = []
    for first in begun:
        matrix[:, column] = first
        for _ in range(ROBUST_ROUNDS):
            fitted = _positive_fit(matrix, cycles)
            others = matrix @ fitted - matrix[:, column] * fitted[column]
            matrix[:, column] = explained(others, fitted[column])
        error = np.abs(matrix @ _positive_fit(matrix, cycles) / cycles - 1).mean()
        found.append((float(error), matrix[:, column].copy()))
    matrix[:, column] = min(found, key=lambda pair: pair[0])[1]


def _positive_fit(matrix: Numbers, cycles: Numbers, weights: Numbers | None = None) -> Numbers:
    """Fit least relative squares without negative coefficients: more channels never cost less.

    The most negative coefficient is set to zero until none is left. This is close to the optimum.
    """
    root = np.sqrt(np.ones(len(cycles)) if weights is None else weights)
    kept = list(range(matrix.shape[1]))
    coefficients = np.zeros(matrix.shape[1])
    while kept:
        scaled = matrix[:, kept] * (root / cycles)[:, None]
        found = np.linalg.lstsq(scaled, root, rcond=None)[0]
        if found.min() >= 0:
            coefficients[kept] = found
            break
        del kept[int((found * scaled.mean(axis=0)).argmin())]
    return coefficients


def _robust_fit(matrix: Numbers, cycles: Numbers) -> Numbers:
    weights = np.ones(len(cycles))
    for _ in range(ROBUST_ROUNDS):
        found = _positive_fit(matrix, cycles, weights)
        weights = 1 / np.maximum(np.abs(matrix @ found / cycles - 1), ROBUST_FLOOR)
    return found


def leave_one_out(
    matrix: Numbers, cycles: Numbers, fitted: Callable[[Numbers, Numbers], Numbers]
) -> Numbers:
    """Foresee each sample by a fit to the others."""
    foreseen = np.empty(len(cycles))
    for index in range(len(cycles)):
        others = np.arange(len(cycles)) != index
        foreseen[index] = matrix[index] @ fitted(matrix[others], cycles[others])
    return foreseen
