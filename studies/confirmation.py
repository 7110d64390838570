"""Whether a found network beats the hand-designed one of its level, or that is not shown.

Accuracy. Both networks are trained with the same seeds, so that what a seed does to both, by the
order of the images and the draws of the augmentation, cancels: the difference is taken seed by
seed. Its 95 % interval is Student's, of the mean of the paired differences with n − 1 degrees of
freedom (for 3 seeds the factor is 4.30). It speaks of another training, not of other test images.

Latency. Both ran in one session, in alternation; the ratio is the median of the rounds' ratios,
and the order is settled or a tie by the rules of `latency.head_to_head`.

Several finalists are several chances to be lucky: the differences in accuracy are judged together
(Holm 1979), as the orders of a session are.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nas_sv2.errors import StoreError
from nas_sv2.latency.measurement import Interval, Latency

WRONG = 0.05
"""The chance that differences in accuracy are called more than chance that are none."""
FEWEST_SEEDS = 3

Verdict = Literal["better", "worse", "tie"]
Claim = Literal["both", "faster", "more accurate", "no claim"]


@dataclass(frozen=True)
class Confirmed:
    """One network, trained for longer and measured again.

    Attributes:
        name: Of a hand-designed network, else the beginning of the digest.
        digest: Of the network.
        trial: Of the study; None for a baseline that the study does not have.
        accuracies: Top-1 on the test split by seed, 0 to 1.
        losses: Cross-entropies on it, nats.
        latencies: By target.
    """

    name: str
    digest: str
    trial: int | None
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    latencies: Mapping[str, Latency]

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.accuracies)


@dataclass(frozen=True, slots=True)
class AccuracyGain:
    """A finalist's accuracy minus the baseline's, paired by seed.

    Attributes:
        differences: By seed.
        low: Of the 95 % interval of their mean.
        high: The same.
        chance: Two-sided, of so large a mean where there is no difference.
        verdict: On all finalists together.
    """

    differences: tuple[float, ...]
    low: float
    high: float
    chance: float
    verdict: Verdict

    @property
    def mean(self) -> float:
        """The difference."""
        return statistics.fmean(self.differences)


@dataclass(frozen=True, slots=True)
class LatencyGain:
    """A finalist's time relative to the baseline's on one target.

    Attributes:
        ratio: Below 1 where the finalist is faster.
        ratio_ci: Its 95 % interval; None where nothing was run.
        provenance: Of both latencies.
        contended: Whether other programs ran meanwhile.
        verdict: Whether the order is settled.
        rule: What settled means there.
    """

    ratio: float
    ratio_ci: Interval | None
    provenance: str
    contended: bool
    verdict: Verdict
    rule: str


@dataclass(frozen=True)
class Finding:
    """What is claimed of one finalist.

    Attributes:
        trial: Of the study.
        digest: Of the network.
        accuracy: Against the baseline.
        latency: Against the baseline, by target.
    """

    trial: int
    digest: str
    accuracy: AccuracyGain
    latency: Mapping[str, LatencyGain]

    @property
    def claim(self) -> Claim:
        """Better in one and worse in none, of all targets; else no claim."""
        verdicts = [gain.verdict for gain in self.latency.values()]
        faster = all(verdict == "better" for verdict in verdicts)
        better = self.accuracy.verdict == "better"
        if self.accuracy.verdict == "worse" or "worse" in verdicts:
            return "no claim"
        if faster and better:
            return "both"
        return "faster" if faster else "more accurate" if better else "no claim"


@dataclass(frozen=True)
class Confirmation:
    """What a confirmation found.

    Attributes:
        against: Name of the baseline that the claims are about.
        recipe: Name of the recipe.
        recipe_digest: Of the recipe.
        data: As evaluations record it.
        test_images: How many images the accuracies are of.
        seeds: Of the trainings; the search had none of them.
        longer: How many times as many image passes as in the search.
        networks: The finalists, then the baselines.
        findings: One for each finalist.
        at: When, ISO 8601, UTC.
        place: Where was trained.
    """

    against: str
    recipe: str
    recipe_digest: str
    data: str
    test_images: int
    seeds: tuple[int, ...]
    longer: float
    networks: tuple[Confirmed, ...]
    findings: tuple[Finding, ...]
    at: str
    place: str

    @property
    def question(self) -> tuple[object, ...]:
        """What was asked; another answer to the same takes the place of the first."""
        digests = tuple(sorted(network.digest for network in self.networks))
        return (self.recipe_digest, self.data, self.seeds, digests)

    def describe(self, finding: Finding) -> str:
        """The claim, or that it is withdrawn, with its confidence, in one line."""
        words = {
            "both": f"beats {self.against}: faster and more accurate",
            "faster": f"faster than {self.against}, accuracies not told apart",
            "more accurate": f"more accurate than {self.against}, not shown to be faster",
            "no claim": f"not shown to beat {self.against}",
        }[finding.claim]
        times = [
            f"{name} × {gain.ratio:.3f}{_interval(gain.ratio_ci)}, {gain.provenance}"
            f"{', contended' if gain.contended else ''}{_is(gain.verdict, 'faster', 'slower')}"
            for name, gain in finding.latency.items()
        ]
        gain = finding.accuracy
        return (
            f"trial {finding.trial} {words} ({'; '.join(times)}; accuracy after {self.recipe} "
            f"{gain.mean * 100:+.2f} points, 95 % {gain.low * 100:+.2f} to {gain.high * 100:+.2f}"
            f"{_is(gain.verdict, 'more accurate', 'less accurate')})"
        )

    @property
    def method(self) -> str:
        """How it was found, in one line."""
        return (
            f"accuracy: recipe {self.recipe} ({self.longer:.3g} × the search's image passes), "
            f"seeds {', '.join(map(str, self.seeds))}, {self.data}, {self.test_images:,} test "
            f"images; paired by seed, t interval with {len(self.seeds) - 1} degrees of freedom"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Confirmation":
        """The confirmation that `to_json` gave, also after a round through JSON.

        Raises:
            StoreError: It is none.
        """
        try:
            return cls(
                **{
                    **data,
                    "seeds": tuple(data["seeds"]),
                    "networks": tuple(_network(each) for each in data["networks"]),
                    "findings": tuple(_finding(each) for each in data["findings"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"a stored confirmation cannot be read: {error!r}") from error


def accuracy_gains(
    finalists: Sequence[Sequence[float]], baseline: Sequence[float], images: int
) -> list[AccuracyGain]:
    """How each finalist's accuracies differ from the baseline's, judged together.

    Args:
        finalists: By seed, of each finalist.
        baseline: By the same seeds.
        images: How many images each accuracy is a share of.
    """
    gains = [
        _paired([a - b for a, b in zip(one, baseline, strict=True)], 1 / images)
        for one in finalists
    ]
    judged: dict[int, Verdict] = {}
    left = len(gains)
    for index in sorted(range(len(gains)), key=lambda index: gains[index].chance):
        if gains[index].chance * left > WRONG:
            break
        judged[index] = "better" if gains[index].mean > 0 else "worse"
        left -= 1
    return [
        dataclasses.replace(gain, verdict=judged.get(index, "tie"))
        for index, gain in enumerate(gains)
    ]


def _paired(differences: Sequence[float], step: float) -> AccuracyGain:
    """Student's interval and chance of the mean, not judged yet.

    Accuracies are multiples of `step`, so that three equal differences do not show that there is
    no noise: a deviation counts as at least that of rounding both to steps (uniform, step / √12).
    """
    from scipy.stats import t

    count = len(differences)
    mean = statistics.fmean(differences)
    deviation = max(statistics.stdev(differences), step * math.sqrt(2 / 12))
    error = deviation / math.sqrt(count)
    reach = float(t.ppf(1 - WRONG / 2, count - 1)) * error
    chance = float(2 * t.sf(abs(mean) / error, count - 1))
    return AccuracyGain(tuple(differences), mean - reach, mean + reach, chance, "tie")


def _network(data: Mapping[str, Any]) -> Confirmed:
    latencies = {name: Latency.from_json(value) for name, value in data["latencies"].items()}
    accuracies, losses = tuple(data["accuracies"]), tuple(data["losses"])
    return Confirmed(
        **{**data, "accuracies": accuracies, "losses": losses, "latencies": latencies}
    )


def _finding(data: Mapping[str, Any]) -> Finding:
    accuracy = data["accuracy"]
    gains = {
        name: LatencyGain(
            **{**gain, "ratio_ci": None if gain["ratio_ci"] is None else tuple(gain["ratio_ci"])}
        )
        for name, gain in data["latency"].items()
    }
    differences = tuple(accuracy["differences"])
    return Finding(
        data["trial"],
        data["digest"],
        AccuracyGain(**{**accuracy, "differences": differences}),
        gains,
    )


def _interval(ends: Interval | None) -> str:
    return "" if ends is None else " (95 % {:.3f} to {:.3f})".format(*ends)


def _is(verdict: Verdict, better: str, worse: str) -> str:
    return {"better": f": {better}", "worse": f": {worse}", "tie": ": a tie"}[verdict]
