"""How near the emulated Cortex-A57 comes to published speeds, beside FLOPs and an analytic model.

    python benchmarks/arm_fidelity.py FOLDER    # some minutes; FOLDER as calibration uses it

Every row of Table 8's ARM column whose network we have is emulated whole, without the table. The
shipped scale and analytic model are held against all rows, those whose structure is published and
those that are reconstructed; and, fitted anew to all rows (least mean relative error) and for each
family to the others, against all.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from arm_networks import Row, emulated_cycles, point_of, rows
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from scipy.stats import kendalltau, spearmanr

from nas_sv2.latency.calibration.workshop import prepare
from nas_sv2.latency.emulated.analytic import analytic_ms, counts_of
from nas_sv2.latency.emulated.arm_cores import core_named
from nas_sv2.latency.emulated.scale import least_error_scale
from nas_sv2.space.graph.cost import cost_of

CORE = core_named("cortex-a57")
EQUAL_FLOPS_WITHIN = 1.3
TIE = 1.05  # published latencies nearer than this are called a tie

Numbers = NDArray[np.float64]
Model = Callable[[NDArray[np.int64]], Numbers]
"""Indices of the rows to fit on, to a guess for all rows, in ms."""


def main() -> None:
    """Print the table, then the figures of each estimate."""
    published = rows()
    points = [point_of(row.network) for row in published]
    graphs = [point.graph for point in points]
    truth = np.array([row.ms for row in published])
    flops = np.array([float(cost_of(graph).flops) for graph in graphs])
    cycles = np.array(emulated_cycles(prepare(Path(sys.argv[1])), CORE, points))
    counted = np.array([counts_of(graph) for graph in graphs])
    everything = np.arange(len(published))
    fitted: dict[str, Model] = {
        "emulated, refitted": lambda seen: cycles * scale(cycles[seen], truth[seen]),
        "FLOPs × scale": lambda seen: flops * scale(flops[seen], truth[seen]),
        "analytic, refitted": lambda seen: counted @ coefficients(counted[seen], truth[seen]),
    }
    guesses = {
        "emulated": cycles / CORE.cycles_per_ms(),
        "analytic": np.array([analytic_ms(graph) for graph in graphs]),
        **{name: model(everything) for name, model in fitted.items()},
    }
    _print_rows(published, truth, flops, guesses)
    print(f"scale {1 / scale(cycles, truth) / 1e6:.3f} Gcycle/s if fitted to these rows")
    dense, depthwise, elementwise = coefficients(counted, truth)
    print(f"analytic ms/G: dense {dense:.1f}, depthwise {depthwise:.1f}, bytes {elementwise:.1f}")
    known = np.array([row.known for row in published])
    for title, some in (("all", known | True), ("published", known), ("reconstructed", ~known)):
        print(f"\n{title} structures, {some.sum()} rows")
        levels = [row.level for row, is_one in zip(published, some, strict=True) if is_one]
        for name, guess in guesses.items():
            print(figures(name, guess[some], truth[some], flops[some], levels))
    print("\neach family by a fit to the others")
    for name, model in fitted.items():
        unseen = leave_one_family_out(model, published)
        print(figures(name, unseen, truth, flops, [row.level for row in published]))


def _print_rows(
    published: Sequence[Row], truth: Numbers, flops: Numbers, guesses: dict[str, Numbers]
) -> None:
    print(f"{'row of Table 8':26s} MFLOPs published" + "".join(f" {n:>18s}" for n in guesses))
    for index, row in enumerate(published):
        name = row.network + "*" * (not row.known)
        line = f"{name:26s} {flops[index] / 1e6:6.0f} {row.ms:6.1f} ms"
        for guess in guesses.values():
            line += f" {guess[index]:10.1f} ms {guess[index] / truth[index]:4.2f}"
        print(line)
    print("* reconstructed")


def scale(guess: Numbers, truth: Numbers) -> float:
    """The factor of least mean relative error."""
    return least_error_scale(guess.tolist(), truth.tolist())


def coefficients(counted: Numbers, truth: Numbers) -> Numbers:
    """Least relative squares, none negative."""
    found = lsq_linear(counted / truth[:, None], np.ones(len(truth)), bounds=(0, np.inf))
    return np.asarray(found.x)


def leave_one_family_out(model: Model, published: Sequence[Row]) -> Numbers:
    """Each row's guess from what was fitted to the other families."""
    families = np.array([row.family for row in published])
    guess = np.empty(len(published))
    for family in set(families):
        guess[families == family] = model(np.flatnonzero(families != family))[families == family]
    return guess


def figures(
    name: str, guess: Numbers, truth: Numbers, flops: Numbers, levels: Sequence[str]
) -> str:
    """One line: errors, rank correlations, and pairs of equal FLOPs in order."""
    off = np.abs(guess / truth - 1)
    pairs = [
        (a, b)
        for a in range(len(truth))
        for b in range(a)
        if levels[a] == levels[b]
        and max(flops[a], flops[b]) < EQUAL_FLOPS_WITHIN * min(flops[a], flops[b])
    ]
    apart = [(a, b) for a, b in pairs if abs(np.log(truth[a] / truth[b])) > np.log(TIE)]
    in_order = [
        f"{np.mean([(guess[a] < guess[b]) == (truth[a] < truth[b]) for a, b in some]):.0%} of "
        f"{len(some)}"
        for some in (pairs, apart)
    ]
    return (
        f"{name:18s} mean error {off.mean():5.1%}, worst {off.max():5.1%}, "
        f"Spearman {spearmanr(guess, truth).statistic:.3f}, "
        f"Kendall {kendalltau(guess, truth).statistic:.3f}, equal-FLOPs pairs in order "
        f"{in_order[0]}, {in_order[1]} that are no ties"
    )


if __name__ == "__main__":
    main()
