"""The cost of a kind of kernel as a formula of the map, for the maps that no entry of a table has.

A formula is a sum of terms. Each is a term of the kind's entries times a number of the map. Such
numbers are rows, columns, pixels, pixels in whole vectors, columns that no vector fills. It is
fitted to the table's own entries, taken at a few channels, and to kernels of whole networks at odd
inputs (`map_grid`). Coefficients are never negative.

A kind is tested on maps that were left out of the fit. The tables stay exact on calibrated maps.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import nnls

from nas_sv2.latency.calibration.fit import (
    LOOKED_UP,
    MOVED_RECORDS,
    PLANE,
    ROBUST_FLOOR,
    TERMS,
    Numbers,
    Sample,
    Terms,
    stated,
)
from nas_sv2.latency.emulated.kernel_table import KernelCost, term
from nas_sv2.latency.kernels.int8 import DEPTHWISE_LANES
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.space.graph.operators import Value

MAP_TERMS: Terms = (
    *("1", "rows", "columns", "area", "read", "area^8", "area^16", "area%4"),
    *("rows*columns%4", "rows*inner%4", "rows*deep%4"),
    *("area>2", "area<8", "rows*columns<2", "rows*columns<4", "columns<2"),
)
"""Numbers of the map. Matrix kernels take 8 or 16 pixels at once. Windows take 4 columns at once,
after those at the edge: none, 2 for a window of 3 and 4 for one of 5. The last five are for maps
of a few pixels or of one column."""
ROUNDS = 4  # of reweighting, which then has settled
LEAST_CYCLES = 10_000
"""Errors are relative to a kernel's cycles, but at least to this. What profiling adds to a kernel,
and is subtracted, is of this size."""
FOLDS = 5  # groups of maps, each left out once
FEW_PIXELS = 8
"""Maps of so few pixels are in every fit: each is a case of its own, and there are not many."""
FEWEST_MAPS = 3
MOST_ERROR = 0.08  # a kind whose mean error is larger stays refused on other maps
PARTS = (2, 8)  # of a split or concat, as in most networks and in residual stages


def fit_formulas(
    entries: Mapping[str, KernelCost], samples: Iterable[Sample], precision: ArmPrecision
) -> dict[str, dict[str, Any]]:
    """Fit a formula to each kind of kernel that was seen on enough maps, and can be foreseen.

    Args:
        entries: The costs on calibrated maps, by `Kernel.key`.
        samples: Kernels of networks, on any map.
        precision: The number format of the kernels.
    """
    single = {key for key in entries if key.endswith(" @1")}
    by_kind: dict[str, list[Sample]] = defaultdict(list)
    for key, entry in entries.items():
        if key not in single:
            for sample in _taken(key, entry, precision):
                by_kind[sample.kernel.kind].append(sample)
    for sample in samples:
        kernel = sample.kernel
        if kernel.key not in single and LOOKED_UP not in _terms(kernel.kind, precision)[0]:
            by_kind[kernel.kind].append(sample)
    found = {
        kind: _best(by_kind[kind], precision)
        for kind in sorted(by_kind)
        if len({_map(sample) for sample in by_kind[kind]}) >= FEWEST_MAPS
    }
    return {kind: one for kind, one in found.items() if one["error_mean"] <= MOST_ERROR}


def _terms(kind: str, precision: ArmPrecision) -> tuple[Terms, ...]:
    return TERMS[precision].get(kind.partition(" ")[0], (PLANE,))


def _map(sample: Sample) -> tuple[int, int]:
    return sample.kernel.source.height, sample.kernel.source.width


def _taken(key: str, entry: KernelCost, precision: ArmPrecision) -> Iterator[Sample]:
    """Yield kernels that an entry prices: few, middle and many channels of every fusion."""
    kind, _, side = key.rpartition(" @")
    dense = any("in" in name.split("*")[0] for name in entry.cycles)
    lanes = DEPTHWISE_LANES if precision == "int8" and kind.startswith("depthwise") else 1
    reads, writes = (
        _channels(limits, lanes, kind.endswith("ragged"))
        for limits in (entry.channels_in, entry.channels_out)
    )
    pairs = [*product(reads, writes)] if dense else [(each, each) for each in writes]
    for fused, parts in product(sorted(entry.fused), PARTS if entry.parts > 1 else (1,)):
        for into, out in pairs:
            source = Value("taken", into, int(side), int(side))
            functions = tuple(fused.split("+")) if fused else ()
            kernel = Kernel(("taken",), kind, source, into, out, parts, functions)
            yield Sample(kernel, entry.of(kernel), (into,))


def _channels(limits: tuple[int, int], lanes: int, ragged: bool) -> list[int]:
    """Choose channels from the least to the most, with several remainders by 8."""
    least, most = limits
    middle = round((least * most) ** 0.5)
    wanted = (least, middle, middle + 1, middle + 4, middle + 6, round(most / 2), most)
    found = {min(max(least, each // lanes * lanes + 3 * ragged), most) for each in wanted}
    return sorted(found)


def _best(samples: Sequence[Sample], precision: ArmPrecision) -> dict[str, Any]:
    """Return the formula whose terms have the least mean error on maps left out of the fit."""
    choices = [_formula(samples, terms) for terms in _terms(samples[0].kernel.kind, precision)]
    return min(choices, key=lambda formula: formula["error_mean"])


def _formula(samples: Sequence[Sample], terms: Terms) -> dict[str, Any]:
    names = ["*".join(pair) for pair in product(terms, MAP_TERMS)]
    matrix = np.array([[term(name, sample.kernel) for name in names] for sample in samples])
    cycles = np.array([sample.cycles for sample in samples])
    foreseen = matrix @ _robust(matrix, cycles)
    kept = (cycles < foreseen) | (errors_of(foreseen, cycles) < MOVED_RECORDS)
    matrix, cycles = matrix[kept], cycles[kept]
    samples = [sample for sample, is_kept in zip(samples, kept, strict=True) if is_kept]
    errors = _left_out(samples, matrix, cycles)
    kernels = [sample.kernel for sample in samples]
    maps = len({_map(sample) for sample in samples})
    coefficients = fit_positive(matrix, cycles)
    return stated(tuple(names), coefficients, kernels, errors, int((~kept).sum()), maps=maps)


def fit_positive(matrix: Numbers, cycles: Numbers, weights: Numbers | None = None) -> Numbers:
    """Fit least relative squares without negative coefficients."""
    size = np.maximum(cycles, LEAST_CYCLES)
    root = np.sqrt(np.ones(len(cycles)) if weights is None else weights) / size
    scaled = matrix * root[:, None]
    largest = np.abs(scaled).max(axis=0)
    used = largest > 0
    found = np.zeros(matrix.shape[1])
    found[used] = nnls(scaled[:, used] / largest[used], cycles * root, maxiter=10_000)[0]
    found[used] /= largest[used]
    return found


def errors_of(foreseen: Numbers, cycles: Numbers) -> Numbers:
    """Return the errors as shares of the cycles, or of `LEAST_CYCLES` if that is more."""
    errors: Numbers = np.abs(foreseen - cycles) / np.maximum(cycles, LEAST_CYCLES)
    return errors


def _robust(matrix: Numbers, cycles: Numbers) -> Numbers:
    """Fit by least absolute errors, with reweighting: a few kernels far off do not bend it."""
    weights = np.ones(len(cycles))
    for _ in range(ROUNDS):
        found = fit_positive(matrix, cycles, weights)
        weights = 1 / np.maximum(errors_of(matrix @ found, cycles), ROBUST_FLOOR)
    return found


def _left_out(samples: Sequence[Sample], matrix: Numbers, cycles: Numbers) -> Numbers:
    """Return the relative error on each kernel of a fit without the kernels of its map."""
    maps = sorted({one for sample in samples if math.prod(one := _map(sample)) > FEW_PIXELS})
    fold = {one: index % FOLDS for index, one in enumerate(maps)}
    folds = np.array([fold.get(_map(sample), FOLDS) for sample in samples])
    errors = []
    for number in range(FOLDS):
        out = folds == number
        if out.any():
            foreseen = matrix[out] @ fit_positive(matrix[~out], cycles[~out])
            errors.append(errors_of(foreseen, cycles[out]))
    return np.concatenate(errors)
