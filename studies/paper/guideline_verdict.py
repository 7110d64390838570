"""Checks whether a device orders networks as the paper's guidelines predict.

Each guideline predicts an order of some networks in a group. Two networks whose times differ by no
more than chance are a tie, by the rule of their session (`head_to_head`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, get_args

from nas_sv2.latency.guidelines.experiment_run import TimedTable

Standing = Literal["reproduced", "tie", "contrary"]

CHAINS: Mapping[str, Sequence[Sequence[str]]] = {
    "G1": [("1:1", "1:2", "1:6", "1:12")],
    "G2": [("1 group", "2 groups", "4 groups", "8 groups")],
    "G3": [
        ("1-fragment", "2-fragment-series", "4-fragment-series"),
        ("1-fragment", "2-fragment-parallel", "4-fragment-parallel"),
    ],
    "G4": [
        ("no ReLU, no shortcut", "ReLU, no shortcut", "ReLU, shortcut"),
        ("no ReLU, no shortcut", "no ReLU, shortcut", "ReLU, shortcut"),
    ],
    "whole blocks": [("1:1", "1:4", "1:16"), ("1", "4", "16")],
}
"""Variants in the order that a guideline predicts, the fastest first, by table."""


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """The order of the networks in one group, against the prediction of a guideline.

    Attributes:
        group: Name of the group.
        chain: Variants that were timed, fastest first by the guideline.
        ends: Time of the last variant relative to the first.
        ends_settled: Whether the order of the two ends is more than chance.
        ties: Pairs of neighbours that are a tie.
        contrary: Pairs, faster first, whose settled order contradicts the guideline.
    """

    group: str
    chain: tuple[str, ...]
    ends: float
    ends_settled: bool
    ties: tuple[tuple[str, str], ...]
    contrary: tuple[tuple[str, str], ...]

    @property
    def standing(self) -> Standing:
        """`reproduced` if the ends are in order and no settled pair contradicts the guideline."""
        if self.contrary:
            return "contrary"
        return "reproduced" if self.ends_settled else "tie"

    def describe(self) -> str:
        """Return the verdict in one line."""
        first, last = self.chain[0], self.chain[-1]
        text = f"{last} takes × {self.ends:.2f} of {first}"
        if not self.ends_settled:
            text += ", a tie"
        if self.contrary:
            text += "; not in order: " + ", ".join(
                f"{one} is faster than {other}" for one, other in self.contrary
            )
        ties = [pair for pair in self.ties if pair != (first, last)]
        if ties:
            text += "; ties: " + ", ".join(f"{one} and {other}" for one, other in ties)
        return text


def chain_verdicts(timed: TimedTable) -> list[ChainVerdict]:
    """Return the verdicts on a table, by group; no guideline, no verdict."""
    found = []
    for group in timed.table.groups:
        for chain in CHAINS.get(timed.table.name, ()):
            verdict = _verdict(timed, group[0].group, chain)
            if verdict is not None:
                found.append(verdict)
    return found


def summary(name: str, verdicts: Sequence[ChainVerdict]) -> str:
    """Count in one line how often the order of a guideline is reproduced."""
    if not verdicts:
        return f"{name}: nothing to compare, its networks are not covered"
    standings = Counter(verdict.standing for verdict in verdicts)
    counted = ", ".join(f"{standing} {standings[standing]}" for standing in get_args(Standing))
    longer = sum(verdict.ends > 1 for verdict in verdicts)
    return (
        f"{name}: the guideline's ordering in {len(verdicts)} comparisons: {counted}; "
        f"the predicted slowest takes longer than the predicted fastest in {longer}"
    )


def _verdict(timed: TimedTable, group: str, chain: Sequence[str]) -> ChainVerdict | None:
    places: dict[str, int] = {}
    rows = [row for row in timed.rows if row.time is not None]
    for place, row in enumerate(rows):
        if row.experiment.group == group:
            places[row.experiment.variant] = place
    known = [variant for variant in chain if variant in places]
    if len(known) < 2:
        return None
    pairs = {(pair.faster, pair.slower): pair for pair in timed.orders.pairs}
    ratios: dict[tuple[str, str], float] = {}
    settled: dict[tuple[str, str], bool] = {}
    for names in combinations(known, 2):
        one, other = (places[name] for name in names)
        pair = pairs[one, other] if (one, other) in pairs else pairs[other, one]
        ratios[names] = pair.ratio if pair.faster == one else 1 / pair.ratio
        settled[names] = pair.settled
    ends = known[0], known[-1]
    return ChainVerdict(
        group,
        tuple(known),
        ratios[ends],
        settled[ends],
        tuple(pair for pair in pairwise(known) if not settled[pair]),
        tuple((b, a) for (a, b), ratio in ratios.items() if settled[a, b] and ratio < 1),
    )
