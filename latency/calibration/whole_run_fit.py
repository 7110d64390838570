"""Fits a table to whole runs of tiny graphs: a formula for each kind of kernel.

LiteRT and ncnn have no profiler in their packages. The cycles of a kernel are those of a whole run
of a tiny graph (`litert_grid`, `ncnn_grid`). The run itself and the other kernels of the graph are
taken off. A coefficient is never negative, and one that the counts do not need is zero.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.emulator import Run
from nas_sv2.latency.calibration.fit import Sample, Terms, leave_one_out, stated
from nas_sv2.latency.calibration.formulas import errors_of, fit_positive
from nas_sv2.latency.calibration.space_grid import Point, is_chain, prices_kernels
from nas_sv2.latency.emulated.kernel_table import KernelCost, term
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of


def _products(channels: Terms, maps: Terms) -> Terms:
    return tuple("*".join(pair) for pair in product(channels, maps))


INPUTS: Terms = ("1", "in", "in%4", "in?4")
MATRIX = _products((*(f"{each}*out^8" for each in INPUTS), "1"), ("1", "area", "area^6"))
RAGGED_MATRIX = _products((*(f"{each}*out^2" for each in INPUTS), "1"), ("1", "area", "area^4"))
WINDOW = _products(("1", "out", "out^4", "out&1", "out&2"), ("1", "rows", "area"))
SINGLE = _products(("1", "out"), ("1", "area", "area^4", "area^6"))
PLANE: Terms = ("1", "rows", "area", "out", "out*area", "out^4*area", "out?4*area")
PARTS: Terms = ("1", "parts", "parts*area", "out*area", "area")
LITERT_TERMS: Mapping[str, Terms] = {
    "pointwise": MATRIX,
    "linear": MATRIX,
    "conv": MATRIX,
    "pointwise ragged": RAGGED_MATRIX,
    "linear ragged": RAGGED_MATRIX,
    "depthwise": WINDOW,
    "depthwise 7x7": SINGLE,
    "add": (*PLANE, "relu", "relu*out*area"),
    "max": (*WINDOW, "read", "out*read", "out^4*read"),
    "split": PARTS,
    "concat": PARTS,
}
"""Terms by the first two words of a kind, or by the first. XNNPACK's kernels of matrices compute a
tile of 6 pixels and 8 channels at once, or of 4 and 2. A part of a tile costs as much as a whole
one. Depthwise kernels compute a pixel and 4 channels at once. A window of 7 runs as a convolution
of one channel at a time: XNNPACK has no depthwise kernel for it."""
PRODUCT = _products(
    ("1", "in", "out", "in*out", "in*out^8", "in*out^4", "in%4*out", "out%8*in"),
    ("1", "area", "area^4", "area^8", "area^12"),
)
NCNN_CONV = _products(
    ("1", "in", "out", "in*out", "in*out^8"),
    ("1", "area", "area^4", "rows^2*columns^2", "rows^4*columns^4", "rows^6*columns^6"),
)
NCNN_PLANE = _products(("1", "out"), ("1", "area", "area%4"))
LEFT_OVER = tuple(f"rows*columns{each}" for each in ("%4", "%8", "&1", "&2", "^4"))
NCNN_WINDOW = _products(("1", "out"), ("1", "rows", "area", "read", *LEFT_OVER))
NCNN_LINEAR = (
    *_products(("1", "in", "in%4", "in%8"), ("1", "out", "out%4", "out^4", "out^8")),
    *("relu*out", "sigmoid", "sigmoid*out"),
)
ENDED: Terms = ("relu*out*area", "relu6*out*area")
NCNN_TERMS: Mapping[str, Terms] = {
    "pointwise": (*PRODUCT, *ENDED),
    "conv": (*PRODUCT, *ENDED),
    "conv 3x3": (*NCNN_CONV, *ENDED),
    "linear": NCNN_LINEAR,
    "depthwise": (*NCNN_WINDOW, *ENDED),
    "max": NCNN_WINDOW,
    "average": NCNN_WINDOW,
    "split": (*PARTS, "out", "parts*rows"),
    "concat": (*PARTS, "out", "parts*rows"),
    **dict.fromkeys(("relu", "add", "multiply", "shuffle"), NCNN_PLANE),
}
"""The same for ncnn, whose kernels of matrices compute up to 12 pixels and 8 channels at once."""
NCNN_HALF_CONV = _products(
    ("1", "in", "out", "in*out", "in*out^8", "out>8", "in*out>8"),
    ("1", "area", "area^4", "rows^2*columns^2", "rows^4*columns^4", "rows^6*columns^6"),
)
TERMS: Mapping[tuple[ArmRuntime, ArmPrecision], Mapping[str, Terms]] = {
    ("litert", "fp32"): LITERT_TERMS,
    ("ncnn", "fp32"): NCNN_TERMS,
    ("ncnn", "fp16"): {**NCNN_TERMS, "conv 3x3": (*NCNN_HALF_CONV, *ENDED)},
}
"""By runtime and precision. In fp16 a first convolution of 8 channels runs other code than one of
more."""


@dataclass(frozen=True, slots=True)
class WholeRunCosts:
    """The fitted costs of a runtime's kernels on a core.

    Attributes:
        per_run: Cycles of a run besides its kernels.
        entries: Costs on one map, by `Kernel.key`.
        formulas: Costs on other maps, by `Kernel.kind`.
    """

    per_run: float
    entries: Mapping[str, Mapping[str, Any]]
    formulas: Mapping[str, Mapping[str, Any]]


def fit_whole_runs(
    points: Sequence[Point], runs: Sequence[Run], precision: ArmPrecision, runtime: ArmRuntime
) -> WholeRunCosts:
    """Fit the costs of all kinds of kernel to the runs of a grid.

    Raises:
        MeasurementError: If a graph has a kernel that no graph before it has priced.
    """
    alone = [run.cycles for point, run in zip(points, runs, strict=True) if is_chain(point)]
    per_run = _start_of_line(alone)
    whole = {point.name: (point, run.cycles) for point, run in zip(points, runs, strict=True)}
    found: dict[str, dict[str, Any]] = {}
    by_name: dict[str, list[_Priced]] = defaultdict(list)
    terms = TERMS[runtime, precision]
    for point, cycles in whole.values():
        if prices_kernels(point):
            start, taken_off = whole[point.before] if point.before else (None, per_run)
            one = _Priced.of(point, cycles - taken_off, start, precision, runtime)
            by_name[_name(one.kernel, runtime)].append(one)
    for name, some in by_name.items():
        found[name] = _fitted([one.sample(found, runtime) for one in some], terms)
    return WholeRunCosts(
        per_run,
        {name: cost for name, cost in found.items() if " @" in name},
        {name: cost for name, cost in found.items() if " @" not in name},
    )


def _start_of_line(cycles: Sequence[float]) -> float:
    """Return the cycles of no kernel, from those of one, two, three, ... equal ones."""
    return float(np.polynomial.Polynomial.fit(range(1, len(cycles) + 1), cycles, 1)(0))


def _name(kernel: Kernel, runtime: ArmRuntime) -> str:
    """Return the name of a kernel's cost: the kind, or the key of LiteRT's product on one pixel.

    Such a product runs other code there.
    """
    is_product = kernel.kind.startswith(("pointwise", "linear"))
    apart = runtime == "litert" and is_product and kernel.source.area == 1
    return kernel.key if apart else kernel.kind


@dataclass(frozen=True, slots=True)
class _Priced:
    """A kernel, and what its graph took without its start.

    Attributes:
        graph: Name of the graph.
        kernel: The kernel that is priced.
        others: The other kernels behind the start.
        cycles: Cycles of all these kernels.
    """

    graph: str
    kernel: Kernel
    others: tuple[Kernel, ...]
    cycles: float

    @classmethod
    def of(
        cls,
        point: Point,
        cycles: float,
        start: Point | None,
        precision: ArmPrecision,
        runtime: ArmRuntime,
    ) -> "_Priced":
        started = {op.name for op in start.graph.ops} if start else set()
        kernels = kernels_of(point.graph, precision, runtime)
        kernels = tuple(one for one in kernels if not started.issuperset(one.ops))
        (priced,) = (one for one in kernels if one.kind.startswith(point.priced))
        return cls(point.name, priced, tuple(k for k in kernels if k is not priced), cycles)

    def sample(self, found: Mapping[str, Mapping[str, Any]], runtime: ArmRuntime) -> Sample:
        """Return the kernel with its cycles, by the costs of the others."""
        cycles = self.cycles
        for other in self.others:
            name = _name(other, runtime)
            if name not in found:
                raise MeasurementError(f"{self.graph}: {other.shape} has not been priced before")
            cycles -= KernelCost.from_json(found[name]).of(other)
        return Sample(self.kernel, max(cycles, 1.0), (self.kernel.channels_in,))


def _fitted(samples: Sequence[Sample], terms_of: Mapping[str, Terms]) -> dict[str, Any]:
    kernels = [sample.kernel for sample in samples]
    words = kernels[0].kind.split()
    terms = terms_of.get(" ".join(words[:2]), terms_of.get(words[0], PLANE))
    matrix = np.array([[term(each, kernel) for each in terms] for kernel in kernels])
    cycles = np.array([sample.cycles for sample in samples])
    errors = errors_of(leave_one_out(matrix, cycles, fit_positive), cycles)
    return stated(terms, fit_positive(matrix, cycles), kernels, errors, 0)
