"""Whether a found network beats the hand-designed one of its level, or that is not shown.

Accuracy. Both networks are trained with the same seeds, so that what a seed does to both, by the
order of the images and the draws of the augmentation, cancels: the difference is taken seed by
seed. Latency. Both ran in one session, in alternation. How the differences are judged, and why all
together: `confirmation_verdicts`.
"""

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.evaluation import content_of
from nas_sv2.latency.measurements.measurement import Interval, Latency

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
        low: Of the interval of their mean, at `level`.
        high: The same.
        chance: Two-sided, of so large a mean where there is no difference.
        verdict: Whether the difference is more than chance.
        level: At which it was judged: the chance of an interval that leaves the truth out. None in
            confirmations of before accuracies and times were judged together, whose interval is
            of 95 %, for this difference alone, and not what decided.
    """

    differences: tuple[float, ...]
    low: float
    high: float
    chance: float
    verdict: Verdict
    level: float | None = None

    @property
    def mean(self) -> float:
        """The difference."""
        return statistics.fmean(self.differences)


@dataclass(frozen=True, slots=True)
class LatencyGain:
    """A finalist's time relative to the baseline's on one target.

    Attributes:
        ratio: Below 1 where the finalist is faster.
        ratio_ci: Its interval, at `level`; None where nothing was run, or in too few rounds.
        provenance: Of both latencies.
        contended: Whether other programs ran meanwhile.
        verdict: Whether the order is settled.
        rule: What is a tie there.
        chance: Two-sided, of rounds as clear where both are as fast; None where nothing was run.
        level: As in `AccuracyGain`; None where nothing was run too.
    """

    ratio: float
    ratio_ci: Interval | None
    provenance: str
    contended: bool
    verdict: Verdict
    rule: str
    chance: float | None = None
    level: float | None = None


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
        longer: How many times as many image passes as in the search, of the finalist of which that
            is least.
        networks: The finalists, then the baselines.
        findings: One for each finalist.
        at: When, ISO 8601, UTC.
        place: Where was trained.
        longest: As `longer`, of the finalist of which it is most; None for the same.
        together: How many comparisons were judged together; 0 in confirmations of before
            accuracies and times were.
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
    longest: float | None = None
    together: int = 0

    @property
    def question(self) -> tuple[object, ...]:
        """What was asked; another answer to the same takes the place of the first."""
        digests = tuple(sorted(network.digest for network in self.networks))
        return (self.recipe_digest, content_of(self.data), self.seeds, digests)

    def describe(self, finding: Finding) -> str:
        """The claim, or that it is withdrawn, with its confidence, in one line."""
        words = {
            "both": f"beats {self.against}: faster and more accurate",
            "faster": f"faster than {self.against}, accuracies not told apart",
            "more accurate": f"more accurate than {self.against}, not shown to be faster",
            "no claim": f"not shown to beat {self.against}",
        }[finding.claim]
        times = [
            f"{name} × {gain.ratio:.3f}{_interval(gain)}, {gain.provenance}"
            f"{', contended' if gain.contended else ''}{_is(gain.verdict, 'faster', 'slower')}"
            for name, gain in finding.latency.items()
        ]
        gain = finding.accuracy
        return (
            f"trial {finding.trial} {words} ({'; '.join(times)}; accuracy after {self.recipe} "
            f"{gain.mean * 100:+.2f} points, {_sure(gain.level)} {gain.low * 100:+.2f} to "
            f"{gain.high * 100:+.2f}{_is(gain.verdict, 'more accurate', 'less accurate')})"
        )

    @property
    def method(self) -> str:
        """How it was found, in one line."""
        longest = "" if self.longest is None else f" to {self.longest:.3g}"
        return (
            f"accuracy: recipe {self.recipe} ({self.longer:.3g}{longest} × the search's image "
            f"passes), seeds {', '.join(map(str, self.seeds))}, {self.data}, "
            f"{self.test_images:,} test images; paired by seed, t interval with "
            f"{len(self.seeds) - 1} degrees of freedom; {self._judged}"
        )

    @property
    def _judged(self) -> str:
        if not self.together:
            return (
                "judged by an older nas-sv2, accuracies and times apart: of equals one of ten is "
                "called different, and an interval is not what decided; confirm again"
            )
        return (
            f"{self.together} comparison{'s' * (self.together > 1)} with {self.against} judged "
            "together (Holm): the chance that any verdict is wrong is 5 %, and an interval is at "
            "the level at which its comparison was judged"
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


def _interval(gain: LatencyGain) -> str:
    if gain.ratio_ci is None:
        return ""
    return " ({} {:.3f} to {:.3f})".format(_sure(gain.level), *gain.ratio_ci)


def _sure(level: float | None) -> str:
    return "95 % alone" if level is None else f"{100 * (1 - level):.4g} %"


def _is(verdict: Verdict, better: str, worse: str) -> str:
    return {"better": f": {better}", "worse": f": {worse}", "tie": ": a tie"}[verdict]
