"""The order of the paper's networks on a device, by their times.

FLOPs do not order networks by speed (section 1, figure 1). `inversions` lists the pairs that they
order wrongly on this device. `agreement` compares the order here with that on a device of the
paper.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nas_sv2.latency.measurements.measurement import Interval
from nas_sv2.statistics import kendall_tau, spearman_rho
from nas_sv2.studies.paper.comparison import PaperComparison, Published, Row, distinct

EQUAL_FLOPS_WITHIN = 0.3
"""Share by which multiply-adds of networks of equal complexity differ at most. Levels are a factor
of 1.8 apart or more. Within a level, only IGCV3-D at 140M differs by more from the others."""
PUBLISHED_TIE = 0.05
"""Share by which published speeds of a tie differ at most."""
FEWEST_RANKED = 3
"""Fewest networks for a rank correlation; two always agree or disagree."""


@dataclass(frozen=True)
class Inversion:
    """Two networks of about equal FLOPs; the one with fewer, or as many, is slower.

    Attributes:
        slower: Network with fewer FLOPs, or as many.
        faster: The other network.
        ratio: Time of the slower network relative to the faster.
        ratio_ci: 95 % interval of the ratio; None if nothing was run.
    """

    slower: Row
    faster: Row
    ratio: float
    ratio_ci: Interval | None

    def published_ratio(self, published: Published) -> float | None:
        """Return the ratio on a device of the paper; below 1, it is not an inversion there."""
        slower, faster = published(self.slower), published(self.faster)
        return faster / slower if slower and faster else None


def inversions(comparison: PaperComparison) -> list[Inversion]:
    """List pairs that FLOPs order wrongly, the worst first, by settled orders only."""
    found = [
        Inversion(slower, faster, pair.ratio, pair.ratio_ci)
        for session in comparison.sessions
        for pair in session.orders.pairs
        for slower, faster in [(session.rows[pair.slower], session.rows[pair.faster])]
        if pair.settled and _flops(slower) <= _flops(faster) and _equal_flops(slower, faster)
    ]
    return sorted(found, key=lambda inversion: -inversion.ratio)


@dataclass(frozen=True, slots=True)
class RankedPair:
    """Two networks of one level and about equal FLOPs whose published speeds differ.

    Attributes:
        slower: The slower network here.
        faster: The faster network here.
        in_order: Whether the published order is the same.
        apart: Whether the published speeds differ by more than `PUBLISHED_TIE`.
        settled: Whether the order here is settled.
    """

    slower: Row
    faster: Row
    in_order: bool
    apart: bool
    settled: bool


@dataclass(frozen=True, slots=True)
class OrderAgreement:
    """The agreement of a device with a published one on the order of networks.

    Attributes:
        networks: Number of networks with a time on both devices.
        spearman: Spearman's rank correlation of the times over all levels; None for fewer than
            three networks.
        kendall: Kendall's τ-b of the same times; None for fewer than three networks.
        pairs: Pairs of one level and about equal FLOPs whose published speeds differ.
    """

    networks: int
    spearman: float | None
    kendall: float | None
    pairs: tuple[RankedPair, ...]

    @property
    def apart(self) -> list[RankedPair]:
        """Pairs without ties of the published speeds."""
        return [pair for pair in self.pairs if pair.apart]

    @property
    def settled(self) -> list[RankedPair]:
        """Pairs without ties here."""
        return [pair for pair in self.pairs if pair.settled]

    @property
    def against(self) -> list[RankedPair]:
        """Pairs in the opposite order here."""
        return [pair for pair in self.pairs if not pair.in_order]


def agreement(
    comparison: PaperComparison, published: Published, known_only: bool = False
) -> OrderAgreement:
    """Compare the order by times here with the order by published speeds.

    Args:
        comparison: Networks; one in several rows counts once.
        published: Function from a row to its published speed.
        known_only: Whether to leave out networks with a reconstructed structure.
    """
    shared = [
        (row, row.relative_time, speed)
        for row in distinct(comparison.rows)
        for speed in [published(row)]
        if row.relative_time is not None and speed and not (known_only and row.reconstructed)
    ]
    spearman = kendall = None
    if len(shared) >= FEWEST_RANKED:
        here, there = np.array([[time, 1 / speed] for _, time, speed in shared]).T
        spearman = float(spearman_rho(here, there))
        kendall = float(kendall_tau(here, there))
    settled = _settled(comparison)
    by_pace = sorted(shared, key=lambda entry: entry[1])
    pairs = tuple(
        RankedPair(
            slower,
            faster,
            in_order=slower_speed < faster_speed,
            apart=not 1 / (1 + PUBLISHED_TIE) <= slower_speed / faster_speed <= 1 + PUBLISHED_TIE,
            settled=(_digest(faster), _digest(slower)) in settled,
        )
        for (faster, _, faster_speed), (slower, _, slower_speed) in combinations(by_pace, 2)
        if faster.level == slower.level and _equal_flops(faster, slower)
        if faster_speed != slower_speed
    )
    return OrderAgreement(len(shared), spearman, kendall, pairs)


def _settled(comparison: PaperComparison) -> set[tuple[str, str]]:
    """Return digests of the faster and the slower network of each settled order."""
    return {
        (_digest(session.rows[pair.faster]), _digest(session.rows[pair.slower]))
        for session in comparison.sessions
        for pair in session.orders.pairs
        if pair.settled
    }


def _digest(row: Row) -> str:
    assert row.network is not None, "a network with a latency was built"
    return row.network.digest


def _flops(row: Row) -> int:
    assert row.cost is not None, "a network with a latency was built"
    return row.cost.flops


def _equal_flops(one: Row, other: Row) -> bool:
    few, many = sorted((_flops(one), _flops(other)))
    return many < (1 + EQUAL_FLOPS_WITHIN) * few
