"""The formula of the paper's GTX 1080Ti, fitted to its 86 published speeds, and its errors.

    python benchmarks/gpu_fidelity.py   # seconds

Each family of Table 8, and each of Tables 1 to 4, is judged by a fit to all others. Then whole
tables are left out, and other forms of the formula are judged in the same way. FLOPs order pairs
of equal FLOPs for comparison.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nas_sv2.latency.emulated.gtx_1080ti import (
    BATCH,
    Terms,
    gpu_kernels,
    padded_multiply_adds,
    terms_of,
    terms_of_graph,
)
from nas_sv2.latency.guidelines.experiment_run import BATCH as EXPERIMENT_BATCH
from nas_sv2.space.experiments.paper import paper_tables
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.cost import cost_of, is_depthwise, op_cost
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.paper.comparison_orders import EQUAL_FLOPS_WITHIN, PUBLISHED_TIE
from nas_sv2.studies.paper.published_figures import published_speeds, table8

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A published speed of the GPU.

    Attributes:
        name: Our name of the network, or table, group and variant of an experiment.
        family: The family of the network, or the table of an experiment.
        level: The complexity level, or the group of an experiment.
        graph: The operators.
        images: Images of a run.
        ms: The published time of a run.
    """

    name: str
    family: str
    level: str
    graph: Graph
    images: int
    ms: float

    @property
    def of_table_8(self) -> bool:
        """Whether it is of Table 8."""
        return self.images == BATCH

    @cached_property
    def flops(self) -> int:
        """Multiply-adds of one image."""
        return cost_of(self.graph).flops


def rows() -> list[Row]:
    """Table 8, each network once, then Tables 1 to 4."""
    found = {}
    for one in table8():
        if one.network and one.gpu_batches_per_s and one.network not in found:
            graph, ms = lower(published_network(one.network)), 1000 / one.gpu_batches_per_s
            found[one.network] = Row(one.network, one.family, one.level, graph, BATCH, ms)
    experiments = []
    for table in paper_tables("GPU"):
        for each, speeds in published_speeds(table).items():
            name, ms = f"{table.name} {each.group} {each.variant}", 1000 / speeds["GPU"].per_second
            group = f"{table.name} {each.group}"
            row = Row(name, table.name, group, lower(each.network), EXPERIMENT_BATCH, ms)
            experiments.append(row)
    return [*found.values(), *experiments]


Form = Callable[[Row], Sequence[float]]
"""The quantities of which a formula is the sum."""


def fitted(terms: Numbers, ms: Numbers) -> Numbers:
    """Return the non-negative numbers with the least squares of relative errors."""
    shares = terms / ms[:, None]
    unit = np.linalg.norm(shares, axis=0)
    unit[unit == 0] = 1
    return np.asarray(nnls(shares / unit, np.ones(len(ms)))[0] / unit)


def unseen(terms: Numbers, published: Sequence[Row]) -> Numbers:
    """Return the time of each row by a fit to the other families."""
    families = np.array([row.family for row in published])
    ms = np.array([row.ms for row in published])
    guess = np.empty(len(published))
    for family in set(families):
        own = families == family
        guess[own] = terms[own] @ fitted(terms[~own], ms[~own])
    return guess


def errors(guess: Numbers, published: Sequence[Row]) -> Numbers:
    """Return the relative error of each row, signed."""
    return np.asarray(guess / np.array([row.ms for row in published]) - 1)


def pairs(published: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the pairs of one level of Table 8, of about equal FLOPs and different speeds."""
    found = []
    for a, b in combinations(range(len(published)), 2):
        one, other = published[a], published[b]
        few, many = sorted((one.flops, other.flops))
        if one.of_table_8 and one.level == other.level and one.ms != other.ms:
            found += [(a, b)] if many < (1 + EQUAL_FLOPS_WITHIN) * few else []
    return found


def in_order(guess: Numbers, published: Sequence[Row], ties: bool = True) -> tuple[float, int]:
    """Return the share of `pairs` in the published order, and their number."""
    ms = np.array([row.ms for row in published])
    judged = [
        (guess[a] < guess[b]) == (ms[a] < ms[b])
        for a, b in pairs(published)
        if ties or not 1 / (1 + PUBLISHED_TIE) <= ms[a] / ms[b] <= 1 + PUBLISHED_TIE
    ]
    return float(np.mean(judged)), len(judged)


def shipped(row: Row) -> Terms:
    """Give the terms of the shipped formula."""
    return terms_of_graph(row.graph, row.images)


def _with_tile(*tile: int) -> Form:
    def form(row: Row) -> Terms:
        padded = sum(padded_multiply_adds(op, (tile[0], tile[1])) for op in row.graph.ops)
        return shipped(row)._replace(gflops=row.images * padded / 1e9)

    return form


def _relu6_for_nothing(row: Row) -> Terms:
    pieces = [one for one in gpu_kernels(row.graph) if one.kernel.kind == "relu6"]
    apart = sum(terms_of(one, row.images).gigabytes for one in pieces)
    return shipped(row)._replace(gigabytes=shipped(row).gigabytes - apart)


def _depthwise_gflops(row: Row) -> float:
    flops = sum(op_cost(op).flops for op in row.graph.ops if is_depthwise(op))
    return row.images * flops / 1e9


FORMS: dict[str, Form] = {
    "shipped": shipped,
    "and a cost of each launch": lambda row: [*shipped(row), len(gpu_kernels(row.graph))],
    "and depthwise multiply-adds": lambda row: [*shipped(row), _depthwise_gflops(row)],
    "without groups": lambda row: shipped(row)[:3],
    "ReLU6 for nothing, as ReLU": _relu6_for_nothing,
    "tiles of 1 by 1": _with_tile(1, 1),
    "tiles of 32 by 32": _with_tile(32, 32),
    "tiles of 64 by 16": _with_tile(64, 16),
    "tiles of 128 by 16": _with_tile(128, 16),
    "tiles of 128 by 32": _with_tile(128, 32),
    "FLOPs alone": lambda row: [row.images * row.flops / 1e9],
}


def main() -> None:
    """Print the numbers, every row, each family and table unseen, and the other forms."""
    published = rows()
    terms = np.array([shipped(row) for row in published])
    ms = np.array([row.ms for row in published])
    found = fitted(terms, ms)
    guess = unseen(terms, published)
    print("FITTED =", Terms(*map(float, np.round(found, 6))))
    print(f"all {len(published)} rows, seen: {_error(terms @ found, published)}")
    print(f"\n{'row, its family unseen':36s} {'ms':>7s} {'formula':>8s}   error  seen")
    for row, own, each in zip(published, guess, terms @ found, strict=True):
        off, seen = own / row.ms - 1, each / row.ms - 1
        print(f"{row.name:36s} {row.ms:7.3f} {own:8.3f}  {off:+6.1%} {seen:+6.1%}")
    _print_families(published, guess)
    _print_tables(published, terms, ms)
    print("\nform                              Table 8, families unseen             Tables 1 to 4")
    for name, form in FORMS.items():
        other = unseen(np.array([form(row) for row in published]), published)
        _print_form(name, other, published)
    flops = np.array([float(row.flops) for row in published])
    (all_, count), (apart, few) = (in_order(flops, published, ties) for ties in (True, False))
    print(f"\nFLOPs order {all_:.0%} of {count} pairs, {apart:.0%} of {few} that are no ties")


def _error(guess: Numbers, published: Sequence[Row]) -> str:
    off = np.abs(errors(guess, published))
    return f"mean {off.mean():.1%}, worst {off.max():.0%}"


def _print_families(published: Sequence[Row], guess: Numbers) -> None:
    print("\nfamily unseen          rows    mean   signed   worst")
    off = errors(guess, published)
    for family in dict.fromkeys(row.family for row in published):
        own = np.array([row.family == family for row in published])
        mean, signed, worst = np.abs(off[own]).mean(), off[own].mean(), np.abs(off[own]).max()
        print(f"{family:22s} {own.sum():4d}  {mean:6.1%}  {signed:+6.1%}  {worst:6.1%}")


def _print_tables(published: Sequence[Row], terms: Numbers, ms: Numbers) -> None:
    """Print the errors where a whole table is left out; families are as above."""
    eight = np.array([row.of_table_8 for row in published])
    for title, own in (("Table 8", eight), ("Tables 1 to 4", ~eight)):
        found = fitted(terms[~own], ms[~own])
        kept = [row for row, is_one in zip(published, own, strict=True) if is_one]
        print(f"\n{title} by a fit to the others: {_error((terms @ found)[own], kept)}")
        print("   ", Terms(*map(float, np.round(found, 4))))
        if title == "Table 8":
            share, count = in_order((terms @ found)[own], kept)
            print(f"    {share:.1%} of {count} pairs in order")


def _print_form(name: str, guess: Numbers, published: Sequence[Row]) -> None:
    off = np.abs(errors(guess, published))
    eight = np.array([row.of_table_8 for row in published])
    families = {row.family for row in published if row.of_table_8}
    means = [
        fmean(off[np.array([row.family == family for row in published])]) for family in families
    ]
    (all_, count), (apart, few) = (in_order(guess, published, ties) for ties in (True, False))
    print(
        f"{name:32s} mean {off[eight].mean():5.1%}, worst {off[eight].max():4.0%}, worst family "
        f"{max(means):4.0%}, {all_:.0%} of {count} pairs, {apart:.0%} of {few} no ties;  "
        f"mean {off[~eight].mean():5.1%}"
    )


if __name__ == "__main__":
    main()
