"""How near the emulated Cortex-A57 comes to published speeds, beside FLOPs and an analytic model.

    python benchmarks/arm_fidelity.py FOLDER    # a minute; FOLDER as calibration uses it

Every row of Table 8's ARM column whose network we know is emulated whole, without the table. One
scale is fitted to all rows (least mean relative error), and for each family to the others.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from arm_networks import Row, rows, write_published
from numpy.typing import NDArray
from scipy.optimize import lsq_linear  # type: ignore[import-untyped]
from scipy.stats import kendalltau, spearmanr  # type: ignore[import-untyped]

from nas_sv2.latency.analytic import features
from nas_sv2.latency.arm_cores import core_named
from nas_sv2.latency.arm_grid import Point
from nas_sv2.latency.arm_workshop import prepare
from nas_sv2.latency.calibration import emulate
from nas_sv2.latency.kernel_table import Table
from nas_sv2.latency.refit import least_error_scale
from nas_sv2.space.cost import cost_of

CORE = "cortex-a57"
EQUAL_FLOPS_WITHIN = 1.3
TIE = 1.05  # published latencies nearer than this are called a tie

Numbers = NDArray[np.float64]
Model = Callable[[NDArray[np.int64]], Numbers]
"""Indices of the rows to fit on, to a guess for all rows, in ms."""


def main() -> None:
    """Print the table, then the figures of each estimate."""
    published = list(rows())
    truth = np.array([row.ms for row in published])
    flops = np.array([float(cost_of(row.graph).flops) for row in published])
    cycles = emulated_cycles(published, Path(sys.argv[1]))
    counted = np.array([features(row.graph) for row in published])
    models: dict[str, Model] = {
        "emulated": lambda seen: cycles * scale(cycles[seen], truth[seen]),
        "FLOPs × scale": lambda seen: flops * scale(flops[seen], truth[seen]),
        "analytic": lambda seen: counted @ coefficients(counted[seen], truth[seen]),
    }
    everything = np.arange(len(published))
    guesses = {name: model(everything) for name, model in models.items()}
    print(f"{'row of Table 8':24s} MFLOPs published" + "".join(f" {name:>14s}" for name in models))
    for index, row in enumerate(published):
        line = f"{row.name:24s} {flops[index] / 1e6:6.0f} {row.ms:6.1f} ms"
        for guess in guesses.values():
            line += f" {guess[index]:6.1f} ms {guess[index] / truth[index]:4.2f}"
        print(line)
    print(f"scale {1 / scale(cycles, truth) / 1e6:.3f} Gcycle/s")
    dense, depthwise, elementwise = coefficients(counted, truth)
    print(f"analytic ms/G: dense {dense:.1f}, depthwise {depthwise:.1f}, bytes {elementwise:.1f}")
    for name, model in models.items():
        print(figures(name, guesses[name], truth, flops))
        unseen = leave_one_family_out(model, published)
        print(figures("  family unseen", unseen, truth, flops))


def emulated_cycles(published: list[Row], folder: Path) -> Numbers:
    """Cycles of each network, run whole and unprofiled."""
    points = [Point(row.name, row.graph) for row in published]
    shop, core = prepare(folder), core_named(CORE)
    runs = emulate(shop, core, "fp32", "published", points, profile=False, write=write_published)
    per_run = Table.load(CORE).metadata["overhead"]["per_run"]
    return np.array([run.cycles - per_run for run in runs])


def scale(guess: Numbers, truth: Numbers) -> float:
    """The factor of least mean relative error."""
    return least_error_scale(guess.tolist(), truth.tolist())


def coefficients(counted: Numbers, truth: Numbers) -> Numbers:
    """Least relative squares, none negative."""
    found = lsq_linear(counted / truth[:, None], np.ones(len(truth)), bounds=(0, np.inf))
    return np.asarray(found.x)


def leave_one_family_out(model: Model, published: list[Row]) -> Numbers:
    """Each row's guess from what was fitted to the other families."""
    families = np.array([row.family for row in published])
    guess = np.empty(len(published))
    for family in set(families):
        guess[families == family] = model(np.flatnonzero(families != family))[families == family]
    return guess


def figures(name: str, guess: Numbers, truth: Numbers, flops: Numbers) -> str:
    """One line: errors, rank correlations, and pairs of equal FLOPs in order."""
    off = np.abs(guess / truth - 1)
    pairs = [
        (a, b)
        for a in range(len(truth))
        for b in range(a)
        if max(flops[a], flops[b]) < EQUAL_FLOPS_WITHIN * min(flops[a], flops[b])
    ]
    apart = [(a, b) for a, b in pairs if abs(np.log(truth[a] / truth[b])) > np.log(TIE)]
    in_order = [
        f"{np.mean([(guess[a] < guess[b]) == (truth[a] < truth[b]) for a, b in some]):.0%} of "
        f"{len(some)}"
        for some in (pairs, apart)
    ]
    return (
        f"{name:16s} mean error {off.mean():5.1%}, worst {off.max():5.1%}, "
        f"Spearman {spearmanr(guess, truth).statistic:.3f}, "
        f"Kendall {kendalltau(guess, truth).statistic:.3f}, equal-FLOPs pairs in order "
        f"{in_order[0]}, {in_order[1]} that are no ties"
    )


if __name__ == "__main__":
    main()
