"""Samples to the table that is shipped: a few coefficients for each kind of kernel and map."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arm_table.samples import Sample
from nas_sv2.latency.kernel_table import term

Numbers = NDArray[np.float64]

PLANE = ("1", "out")
BILINEAR = ("1", "in", "out", "in*out")
PARTS = ("1", "parts", "out")
TERMS = {
    "pointwise": (*BILINEAR, "relu", "relu*out", "sigmoid", "sigmoid*out", "add", "add*out"),
    "conv": BILINEAR,
    "linear": BILINEAR,
    "split": PARTS,
    "concat": PARTS,
}
# One kernel in four hundred took 20 to 120 thousand cycles more than its likes, never less; we
# think that the profiler's records grew just then. Kernels so far above a robust fit are left out.
MOVED_RECORDS = 0.25
ROBUST_ROUNDS, ROBUST_FLOOR = 20, 0.01  # least absolute errors by reweighting; settles in ten
SIGNIFICANT = 6  # digits; the fits are good to three


def fit(samples: Iterable[Sample]) -> dict[str, dict[str, Any]]:
    """The entries of the table, by key."""
    by_key: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_key[sample.kernel.key].append(sample)
    return {key: _entry(by_key[key]) for key in sorted(by_key)}


def _entry(samples: Sequence[Sample]) -> dict[str, Any]:
    kernels = [sample.kernel for sample in samples]
    kind = kernels[0].kind.partition(" ")[0]
    terms = TERMS.get(kind, PLANE)
    matrix = np.array([[term(name, kernel) for name in terms] for kernel in kernels])
    used = [index for index in range(len(terms)) if matrix[:, index].any()]
    terms = tuple(terms[index] for index in used)
    matrix = matrix[:, used]
    cycles = np.array([sample.cycles for sample in samples])
    kept = cycles < (1 + MOVED_RECORDS) * (matrix @ _robust_fit(matrix, cycles))
    matrix, cycles = matrix[kept], cycles[kept]
    kernels = [kernel for kernel, is_kept in zip(kernels, kept, strict=True) if is_kept]
    errors = _leave_one_out(matrix, cycles)
    return {
        "cycles": {
            name: float(f"{value:.{SIGNIFICANT}g}")
            for name, value in zip(terms, _positive_fit(matrix, cycles), strict=True)
            if value
        },
        "channels_in": _range(kernel.channels_in for kernel in kernels),
        "channels_out": _range(kernel.channels_out for kernel in kernels),
        "parts": max(kernel.parts for kernel in kernels),
        "fused": sorted({"+".join(kernel.fused) for kernel in kernels}),
        "points": len(kernels),
        "left_out": len(samples) - len(kernels),
        "error_mean": round(float(errors.mean()), 4),
        "error_max": round(float(errors.max()), 4),
    }


def _range(values: Iterable[int]) -> list[int]:
    found = list(values)
    return [min(found), max(found)]


def _positive_fit(matrix: Numbers, cycles: Numbers, weights: Numbers | None = None) -> Numbers:
    """Least relative squares without negative coefficients: more channels never cost less.

    The most negative is set to zero until none is left, which is near enough to the optimum.
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
        del kept[int(found.argmin())]
    return coefficients


def _robust_fit(matrix: Numbers, cycles: Numbers) -> Numbers:
    weights = np.ones(len(cycles))
    for _ in range(ROBUST_ROUNDS):
        found = _positive_fit(matrix, cycles, weights)
        weights = 1 / np.maximum(np.abs(matrix @ found / cycles - 1), ROBUST_FLOOR)
    return found


def _leave_one_out(matrix: Numbers, cycles: Numbers) -> Numbers:
    """The relative error on each sample of a fit to the others."""
    errors = np.empty(len(cycles))
    for index in range(len(cycles)):
        others = np.arange(len(cycles)) != index
        foreseen = matrix[index] @ _positive_fit(matrix[others], cycles[others])
        errors[index] = abs(foreseen / cycles[index] - 1)
    return errors
