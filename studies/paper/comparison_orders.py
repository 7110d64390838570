"""What the times of the paper's networks on a device say of their order.

FLOPs do not order networks by speed (section 1, figure 1). `inversions` lists where they do not on
this device; `agreement` says how far this device orders networks as the paper's two did.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nas_sv2.latency.measurements.measurement import Interval
from nas_sv2.statistics import kendall_tau, spearman_rho
from nas_sv2.studies.paper.comparison import Comparison, Published, Row, distinct

EQUAL_FLOPS_WITHIN = 0.3
"""Networks whose multiply-adds differ by less than this share are of equal complexity. Levels are
a factor of 1.8 apart or more; within one, IGCV3-D at 140M is beyond it."""
PUBLISHED_TIE = 0.05
"""Published speeds nearer to each other than this share may be called a tie."""
FEWEST_RANKED = 3
"""Two networks always agree or disagree; a rank correlation needs more."""


@dataclass(frozen=True)
class Inversion:
    """Two networks of about equal FLOPs of which the one that should be faster is slower.

    Attributes:
        slower: The one with fewer FLOPs, or as many.
        faster: The other.
        ratio: How long the slower takes relative to the faster.
        ratio_ci: The 95 % interval; None where nothing was run.
    """

    slower: Row
    faster: Row
    ratio: float
    ratio_ci: Interval | None

    def published_ratio(self, published: Published) -> float | None:
        """The same ratio on one of the paper's devices; below 1 where it is no inversion."""
        slower, faster = published(self.slower), published(self.faster)
        return faster / slower if slower and faster else None


def inversions(comparison: Comparison) -> list[Inversion]:
    """Where FLOPs order two networks wrongly, by settled orders only; the worst first."""
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
    """Two networks of one level and about equal FLOPs that a published device tells apart.

    Attributes:
        slower: The slower one here.
        faster: The other.
        in_order: Whether that is the published order.
        apart: Whether the published speeds differ by more than `PUBLISHED_TIE`.
        settled: Whether the order here is settled.
    """

    slower: Row
    faster: Row
    in_order: bool
    apart: bool
    settled: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a device orders networks as a published one did.

    Attributes:
        networks: How many both have a figure of.
        spearman: Rank correlation of their times over all levels; None with fewer than three.
        kendall: The same, Kendall's τ-b.
        pairs: Those whose published speeds differ at all.
    """

    networks: int
    spearman: float | None
    kendall: float | None
    pairs: tuple[RankedPair, ...]

    @property
    def apart(self) -> list[RankedPair]:
        """Without ties of the published speeds."""
        return [pair for pair in self.pairs if pair.apart]

    @property
    def settled(self) -> list[RankedPair]:
        """Without ties here."""
        return [pair for pair in self.pairs if pair.settled]

    @property
    def against(self) -> list[RankedPair]:
        """Those that come in the other order here."""
        return [pair for pair in self.pairs if not pair.in_order]


def agreement(comparison: Comparison, published: Published, known_only: bool = False) -> Agreement:
    """The agreement of the times here with published ones.

    Args:
        comparison: The networks; one that stands in several rows counts once.
        published: The published speed.
        known_only: Without networks whose structure was reconstructed.
    """
    shared = [
        (row, row.pace, speed)
        for row in distinct(comparison.rows)
        for speed in [published(row)]
        if row.pace is not None and speed and not (known_only and row.reconstructed)
    ]
    spearman = kendall = None
    if len(shared) >= FEWEST_RANKED:
        here, there = np.array([[pace, 1 / speed] for _, pace, speed in shared]).T
        spearman = spearman_rho(here, there)
        kendall = kendall_tau(here, there)
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
    return Agreement(len(shared), spearman, kendall, pairs)


def _settled(comparison: Comparison) -> set[tuple[str, str]]:
    """Digests of the faster and the slower network of each settled order."""
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
