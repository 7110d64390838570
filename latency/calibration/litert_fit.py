"""Fits the table of LiteRT: a formula of channels and map for each kind of kernel.

The cycles of a kernel are those of a whole run of a tiny graph (`litert_grid`). The run itself and
the other kernels of the graph are taken off. XNNPACK's kernels of matrices compute a tile of 6
pixels and 8 channels at once, or of 4 and 2. A part of a tile costs as much as a whole one.
Depthwise kernels compute a pixel and 4 channels at once. A coefficient is never negative, and one
that the counts do not need is zero.
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
from nas_sv2.latency.calibration.litert_grid import is_chain, is_priced, prices_kernels
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.emulated.kernel_table import KernelCost, term
from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.litert import litert_kernels_of


def _products(channels: Terms, maps: Terms) -> Terms:
    return tuple("*".join(pair) for pair in product(channels, maps))


INPUTS: Terms = ("1", "in", "in%4", "in?4")
MATRIX = _products((*(f"{each}*out^8" for each in INPUTS), "1"), ("1", "area", "area^6"))
RAGGED_MATRIX = _products((*(f"{each}*out^2" for each in INPUTS), "1"), ("1", "area", "area^4"))
WINDOW = _products(("1", "out", "out^4", "out&1", "out&2"), ("1", "rows", "area"))
SINGLE = _products(("1", "out"), ("1", "area", "area^4", "area^6"))
PLANE: Terms = ("1", "rows", "area", "out", "out*area", "out^4*area", "out?4*area")
PARTS: Terms = ("1", "parts", "parts*area", "out*area", "area")
TERMS: Mapping[str, Terms] = {
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
"""Terms by the first two words of a kind, or by the first. A window of 7 runs as a convolution of
one channel at a time: XNNPACK has no depthwise kernel for it."""


@dataclass(frozen=True, slots=True)
class LitertCosts:
    """The fitted costs of LiteRT's kernels on a core.

    Attributes:
        per_run: Cycles of a run besides its kernels.
        entries: Costs of products on one pixel, where other code runs, by `Kernel.key`.
        formulas: Costs on other maps, by `Kernel.kind`.
    """

    per_run: float
    entries: Mapping[str, Mapping[str, Any]]
    formulas: Mapping[str, Mapping[str, Any]]


def fit_litert(points: Sequence[Point], runs: Sequence[Run]) -> LitertCosts:
    """Fit the costs of all kinds of kernel to the runs of the grid.

    Raises:
        MeasurementError: If a graph has a kernel that no graph before it has priced.
    """
    alone = [run.cycles for point, run in zip(points, runs, strict=True) if is_chain(point)]
    per_run = _start_of_line(alone)
    found: dict[str, dict[str, Any]] = {}
    by_kind: dict[str, list[tuple[Point, Run]]] = defaultdict(list)
    for point, run in zip(points, runs, strict=True):
        if prices_kernels(point):
            (name,) = {_name(k) for k in litert_kernels_of(point.graph) if is_priced(point, k)}
            by_kind[name].append((point, run))
    for name, some in by_kind.items():
        samples = [_sample(point, run, per_run, name, found) for point, run in some]
        found[name] = _fitted(name, samples)
    return LitertCosts(
        per_run,
        {name: cost for name, cost in found.items() if " @" in name},
        {name: cost for name, cost in found.items() if " @" not in name},
    )


def _start_of_line(cycles: Sequence[float]) -> float:
    """Return the cycles of no kernel, from those of one, two, three, ... equal ones."""
    return float(np.polynomial.Polynomial.fit(range(1, len(cycles) + 1), cycles, 1)(0))


def _name(kernel: Kernel) -> str:
    """Return the name of a kernel's cost: the key of a product on one pixel, else the kind."""
    is_product = kernel.kind.startswith(("pointwise", "linear"))
    return kernel.key if is_product and kernel.source.area == 1 else kernel.kind


def _sample(
    point: Point, run: Run, per_run: float, name: str, found: Mapping[str, Mapping[str, Any]]
) -> Sample:
    kernels = litert_kernels_of(point.graph)
    (kernel,) = (one for one in kernels if _name(one) == name)
    cycles = run.cycles - per_run
    for other in kernels:
        if other is not kernel:
            if _name(other) not in found:
                raise MeasurementError(f"{point.name}: {other.shape} has not been priced before")
            cycles -= KernelCost.from_json(found[_name(other)]).of(other)
    return Sample(kernel, max(cycles, 1.0), (kernel.channels_in,))


def _fitted(name: str, samples: Sequence[Sample]) -> dict[str, Any]:
    words = name.partition(" @")[0].split()
    terms = TERMS.get(" ".join(words[:2]), TERMS.get(words[0], PLANE))
    kernels = [sample.kernel for sample in samples]
    matrix = np.array([[term(each, kernel) for each in terms] for kernel in kernels])
    cycles = np.array([sample.cycles for sample in samples])
    errors = errors_of(leave_one_out(matrix, cycles, fit_positive), cycles)
    return stated(terms, fit_positive(matrix, cycles), kernels, errors, 0)
