"""How two networks of a study stand to each other, and how sure that is."""

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Literal

from nas_sv2.latency.measurements.measurement import Interval, Latency
from nas_sv2.latency.measurements.spread import apart
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record

Sure = Literal["sure", "tie", "unknown"]
NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of a network against that of another.

    Attributes:
        gain: The share by which a latency is faster (below 0: slower), or the difference of two
            scores, higher is better.
        sure: `sure` if the difference is more than noise, `tie` if it is not, `unknown` if the
            noise is not known.
        why: The reason in words.
        mark: The same in a word or two.
    """

    gain: float
    sure: Sure
    why: str
    mark: str


def compare_latencies(ours: Latency, theirs: Latency) -> Difference:
    """Compare two latencies; their 95 % intervals say whether the difference is sure."""
    gain = 1 - ours.ms / theirs.ms
    kinds = {ours.provenance, theirs.provenance}
    if ours.ci_ms is None or theirs.ci_ms is None:
        known = " and ".join(sorted(kinds))
        return Difference(gain, "unknown", f"{known}, without an interval", known)
    differ = apart((ours.ms, ours.ci_ms), (theirs.ms, theirs.ci_ms))
    predicted = "predicted; " if "predicted" in kinds else ""
    if not differ:
        return Difference(gain, "tie", f"{predicted}one is in the other's 95 % interval", "a tie")
    outside = f"{predicted}each is outside the other's 95 % interval"
    if ours.contended or theirs.contended:
        why = f"{outside}, but other programs ran meanwhile"
        return Difference(gain, "unknown", why, "contended")
    return Difference(gain, "sure", outside, "sure")


def compare_scores(
    ours: Record, theirs: Record, certificate: Certificate | None, among: int = 1
) -> Difference:
    """Compare two scores; the certificate says whether the difference is sure.

    Args:
        ours: The network that is spoken of.
        theirs: The one it is compared with.
        certificate: The certificate of the recipe; it knows the noise of the seed.
        among: From how many candidates `ours` was chosen by its score: the luckiest of many has
            more luck than one (Bonferroni).
    """
    gain = ours.evaluation.score - theirs.evaluation.score
    least = None if certificate is None else certificate.smallest_difference
    if certificate is None or least is None:
        why = "the noise of the seed is not known: not certified"
        return Difference(gain, "unknown", why, "not certified")
    least *= NormalDist().inv_cdf(1 - 0.025 / among) / NormalDist().inv_cdf(0.975)
    shown = certificate.in_words(least)
    if abs(gain) <= least:
        return Difference(gain, "tie", f"gaps under {shown} are noise of the seed", "a tie")
    chosen = f" for the best of {among}" if among > 1 else ""
    why = f"more than the seed's noise, which stays under {shown}{chosen}"
    return Difference(gain, "sure", why, "sure")


def find_ties(front: Front, certificate: Certificate | None) -> list[tuple[int, int]]:
    """Neighbours on the front, worse and better, that the recipe cannot tell apart."""
    least = None if certificate is None else certificate.smallest_difference
    if least is None:
        return []
    ranked = sorted(front.members, key=lambda entry: entry.record.evaluation.score)
    return [
        (worse.number, better.number)
        for worse, better in pairwise(ranked)
        if better.record.evaluation.score - worse.record.evaluation.score <= least
    ]


def accuracy_interval(accuracy: float, images: int) -> Interval:
    """The 95 % interval that the number of validation images alone leaves (Wilson 1927)."""
    if images < 1:
        return (0.0, 1.0)
    z2 = NORMAL_95**2 / images
    middle = (accuracy + z2 / 2) / (1 + z2)
    half = NORMAL_95 / (1 + z2) * math.sqrt(accuracy * (1 - accuracy) / images + z2 / images / 4)
    return (max(0.0, middle - half), min(1.0, middle + half))
