"""Whether found networks beat the hand-designed one of their level, judged all together.

Both networks are trained with the same seeds, and the difference is taken seed by seed. So the
effect of a seed on both, by the order of the images and the draws of the augmentation, cancels.
Both ran in one session, in alternation.

A confirmation compares every finalist with the baseline by the score of the study (`scored_by`)
and, on every target that was measured, in time. Each comparison is a chance to be lucky: at 5 %
each, two of equals alone come out as different in one confirmation of ten. All are therefore one
family (Holm 1979, which asks nothing of how they depend on each other): the chance that any
verdict of a confirmation is wrong is 5 %.

A claim needs no correction beyond that. One that needs several verdicts ("faster and more
accurate", "faster on every target") is wrong only if one of them is: an intersection-union test
(Berger 1982).

Score. Student's t of the differences by seed, n − 1 degrees of freedom. It speaks of another
training, not of other test images. Time. The sign test over the rounds of a session
(`latency.pair`). Latencies that were priced and not run give no test, and take no part.

The interval of a verdict is that of its test, at the level at which it was judged. So it leaves
"no difference" out exactly if the difference is more than chance.

Equal score. A tie may hide a loss, so it does not prove equality. With a margin, a finalist is
*not worse* if it is shown to lose less than the margin: a test of non-inferiority, one-sided
(Blackwelder 1982). These tests of all finalists are a family of their own at 5 %. The claim
"faster at equal score" is again wrong only if one of its two verdicts is.

The scaled family (`scaled_family`) adds one test a finalist and target to the first family.
"""

import dataclasses
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from nas_sv2.counts import counted
from nas_sv2.documents import reading_stored
from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.evaluation import data_key, describe_majority, is_uneven
from nas_sv2.evaluate.recipes.scores import ScoreFacts, facts_of
from nas_sv2.latency.measurements.head_to_head import ComparedPair, PricedPair, TimedPair
from nas_sv2.latency.measurements.measurement import Interval, Latency
from nas_sv2.plain_data import parse_json, printable
from nas_sv2.statistics import Judgement, judge_together
from nas_sv2.studies.findings.paired import Paired, Verdict
from nas_sv2.studies.findings.scaled_family import FamilyCurve, FamilyGain

FEWEST_SEEDS = 3

Claim = Literal["both", "faster at equal score", "faster", "better score", "no claim"]


@dataclass(frozen=True)
class Confirmed:
    """One network, trained for longer and measured again.

    Attributes:
        name: The name of a hand-designed network, else the beginning of the digest.
        digest: The digest of the network.
        trial: Its trial; None for a baseline that the study does not have.
        scores: The score that is compared by on the test split, by seed; higher is better, so
            that an error is negated.
        losses: Cross-entropies on it, nats; None for numbers.
        latencies: Its latency on each target.
        accuracies: Top-1 on it by seed, 0 to 1; None for several labels or numbers.
        balanced_accuracy: Mean over the classes and over the seeds, 0 to 1; None if not known.
        float_score: Mean over the seeds of the score in float32, if the others are those of the
            int8 form; else None.
    """

    name: str
    digest: str
    trial: int | None
    scores: tuple[float, ...]
    losses: tuple[float, ...] | None
    latencies: Mapping[str, Latency]
    accuracies: tuple[float, ...] | None = None
    balanced_accuracy: float | None = None
    float_score: float | None = None

    @property
    def score(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.scores)

    @property
    def accuracy(self) -> float | None:
        """Mean of top-1 over the seeds."""
        return None if self.accuracies is None else statistics.fmean(self.accuracies)


@dataclass(frozen=True, slots=True)
class ScoreGain:
    """A finalist's score minus the baseline's, paired by seed; higher is better.

    Attributes:
        differences: The difference of each seed.
        low: The lower end of the interval of their mean, at `level`.
        high: The upper end.
        chance: The two-sided chance of so large a mean if there is no difference.
        verdict: Whether the difference is more than chance.
        level: The chance of an interval that leaves the truth out, at which it was judged. None
            in confirmations from before accuracies and times were judged together. Their interval
            is of 95 %, for this difference alone, and did not decide.
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
        ratio: The ratio of the times, below 1 if the finalist is faster.
        ratio_ci: Its interval, at `level`; None if nothing was run, or in too few rounds.
        provenance: The provenance of both latencies.
        contended: Whether other programs ran meanwhile.
        verdict: Whether the order is settled.
        rule: The rule for a tie there.
        chance: The two-sided chance of rounds as clear if both are as fast; None if nothing was
            run.
        level: As in `ScoreGain`; None if nothing was run, too.
    """

    ratio: float
    ratio_ci: Interval | None
    provenance: str
    contended: bool
    verdict: Verdict
    rule: str
    chance: float | None = None
    level: float | None = None


@dataclass(frozen=True, slots=True)
class NotWorse:
    """Whether a finalist is shown to lose less than the margin.

    Attributes:
        low: The lower end of the one-sided interval of the mean difference, at `level`.
        chance: The one-sided chance of so high a mean if the finalist loses the margin.
        holds: Whether it is shown.
        level: The chance at which it was judged.
    """

    low: float
    chance: float
    holds: bool
    level: float


@dataclass(frozen=True)
class Finding:
    """The claim about one finalist beside one other network.

    Attributes:
        trial: The trial of the finalist.
        digest: The digest of its network.
        score: Its score against the other.
        latency: Its latency against the other, by target.
        against: Name of the other; None for the baseline of the confirmation.
        not_worse: By the confirmation's margin; None without one.
        family: Beside the scaled family, by target; without targets whose curve does not cover
            the finalist's latency.
    """

    trial: int
    digest: str
    score: ScoreGain
    latency: Mapping[str, LatencyGain]
    against: str | None = None
    not_worse: NotWorse | None = None
    family: Mapping[str, FamilyGain] = field(default_factory=dict)

    @property
    def claim(self) -> Claim:
        """Better in one and worse in none, of all targets; else no claim.

        A score that is settled as lower, by less than the margin, is an equal one.
        """
        verdicts = [gain.verdict for gain in self.latency.values()]
        faster = all(verdict == "better" for verdict in verdicts)
        better, equal = self.score.verdict == "better", self._is_equal
        if "worse" in verdicts or (self.score.verdict == "worse" and not (equal and faster)):
            return "no claim"
        if better:
            return "both" if faster else "better score"
        if not faster:
            return "no claim"
        return "faster at equal score" if equal else "faster"

    @property
    def _is_equal(self) -> bool:
        return self.not_worse is not None and self.not_worse.holds


@dataclass(frozen=True)
class Confirmation:
    """The findings of a confirmation.

    Attributes:
        against: Name of the baseline that the claims are about.
        recipe: Name of the recipe.
        recipe_digest: The digest of the recipe.
        data: As evaluations record it.
        test_images: How many images the scores are of.
        seeds: The seeds of the trainings; the search had none of them.
        longer: How many times as many image passes as in the search, of the finalist of which that
            is least.
        networks: The finalists, then the baselines.
        findings: One for each finalist.
        at: When, ISO 8601, UTC.
        place: The processor of the trainings.
        longest: As `longer`, of the finalist of which it is most; None for the same.
        together: How many comparisons were judged together; 0 in confirmations of before
            scores and times were.
        majority: Share of the test images that are of their commonest class; None if not known.
        classes: Number of classes; 0 if not known.
        margin: The loss of score that counts as none, 0 to 1 of a share or in the score's unit;
            None if it was not asked.
        family: Names of the networks of the scaled family; none if it was not asked.
        scored_by: The score that is compared by, as in a recipe; `accuracy` is top-1.
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
    majority: float | None = None
    classes: int = 0
    margin: float | None = None
    family: tuple[str, ...] = ()
    scored_by: str = "accuracy"

    @property
    def facts(self) -> ScoreFacts:
        """Name and unit of the score that is compared by."""
        return facts_of(self.scored_by)

    @property
    def in_int8(self) -> bool:
        """Whether scores are of the int8 form, as the study's."""
        return self.networks[0].float_score is not None

    @property
    def uneven(self) -> bool:
        """Whether one class has so many of the test images that accuracies need it said."""
        return is_uneven(self.majority, self.classes)

    def describe_majority(self) -> str:
        """Say in one line how uneven the classes are; empty if they are not."""
        if self.majority is None or not self.uneven:
            return ""
        return describe_majority(self.majority, f"{self.test_images:,} test images")

    def describe_unlearnt(self) -> str:
        """Name the networks that one fixed answer beats or equals; empty without any."""
        share, networks = self.majority, self.networks
        if share is None:
            return ""
        names = [
            one.name for one in networks if one.accuracy is not None and one.accuracy <= share
        ]
        if not names:
            return ""
        return (
            f"not more often right than always naming the commonest class ({share:.2%} of the "
            f"{self.test_images:,} test images): {', '.join(names)}"
        )

    @property
    def question(self) -> tuple[object, ...]:
        """The question; a new answer to the same takes the place of the first."""
        digests = tuple(sorted(network.digest for network in self.networks))
        asked = (self.recipe_digest, data_key(self.data), self.seeds, digests)
        return (*asked, self.margin, self.scored_by)

    def describe(self, finding: Finding) -> str:
        """The claim, or that it is withdrawn, with its confidence, in one line."""
        facts = self.facts
        times = [
            f"{name} × {gain.ratio:.3f}{_interval(gain)}, {gain.provenance}"
            f"{', contended' if gain.contended else ''}{_is(gain.verdict, 'faster', 'slower')}"
            for name, gain in finding.latency.items()
        ]
        gain = finding.score
        return (
            f"trial {finding.trial} {self._claim(finding)} ({'; '.join(times)}; "
            f"{facts.noun} after {self.recipe} {facts.change(gain.mean)}, {_sure(gain.level)} "
            f"{facts.interval(gain.low, gain.high)}"
            f"{_is(gain.verdict, facts.compare(True), facts.compare(False))}"
            f"{self._within(finding.not_worse)})"
        )

    def _claim(self, finding: Finding) -> str:
        against, facts = finding.against or self.against, self.facts
        better = f"{facts.compare(True)}{facts.by}"
        apart = f"not told apart{facts.by}" if facts.by else "accuracies not told apart"
        return {
            "both": f"beats {against}: faster and {better}",
            "faster at equal score": f"faster than {against} at equal {facts.noun}",
            "faster": f"faster than {against}, {apart}",
            "better score": f"{better} than {against}, not shown to be faster",
            "no claim": f"not shown to beat {against}",
        }[finding.claim]

    def _within(self, found: NotWorse | None) -> str:
        if found is None or self.margin is None:
            return ""
        shown, facts = "" if found.holds else "not shown to be ", self.facts
        end = "up to" if facts.is_error else "from"
        sure = f"one-sided {_sure(found.level)} {end} {facts.signed(found.low)}"
        margin = f"{self.margin * 100:g} points" if facts.unit == "share" else f"{self.margin:g}"
        return f"; {shown}not worse by {margin}, {sure}"

    def describe_family(self, finding: Finding) -> list[str]:
        """How a finalist stands beside the scaled family, one target a line."""
        if not self.family or finding.against is not None:
            return []
        beside = f"trial {finding.trial} beside V2 at {len(self.family)} widths"
        return [
            f"{beside} on {target}: "
            + (
                finding.family[target].describe(self.facts)
                if target in finding.family
                else "its latency is not among theirs"
            )
            for target in finding.latency
        ]

    @property
    def method(self) -> str:
        """How it was found, in one line."""
        of = " (lower is better)" if self.facts.is_error else ""
        of += " of the int8 form" if self.in_int8 else ""
        longest = "" if self.longest is None else f" to {self.longest:.3g}"
        return (
            f"{self.facts.noun}{of}: recipe {self.recipe} "
            f"({self.longer:.3g}{longest} × the search's image passes), "
            f"seeds {', '.join(map(str, self.seeds))}, {self.data}, "
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
            f"{counted(self.together, 'comparison')} judged "
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
            OtherVersion: The data have fields that are not known here.
            StoreError: The data are those of no confirmation.
        """
        with reading_stored("a stored confirmation", REMEDY):
            unknown = data.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise OtherVersion(
                f"a stored confirmation is of another version of nas-sv2: it has "
                f"{', '.join(map(printable, sorted(unknown)))}"
            )
        with reading_stored("a stored confirmation", REMEDY):
            found = msgspec.convert(_of_today(parse_json(json.dumps(data))), cls)
            _check(found)
            return found


REMEDY = "nas-sv2 study confirm removes it, and makes a new one"


class OtherVersion(StoreError):
    """A stored confirmation has fields that this version does not know."""


def _of_today(data: dict[str, Any]) -> dict[str, Any]:
    """Name the scores of a confirmation from before `scored_by`, all of which are top-1."""
    if "scored_by" in data:
        return data
    for network in data["networks"]:
        network["scores"] = network["accuracies"]
        network["float_score"] = network.pop("float_accuracy", None)
    for finding in data["findings"]:
        finding["score"] = finding.pop("accuracy")
    return data


def _check(found: Confirmation) -> None:
    """Refuse a confirmation from which no line follows.

    Raises:
        ValueError: A network or a finding has no figures, or not one for each seed.
    """
    seeds = len(found.seeds)
    columns: list[Sequence[float] | None] = [f.score.differences for f in found.findings]
    columns += [each for one in found.networks for each in (one.scores, one.losses)]
    columns += [one.accuracies for one in found.networks]
    if not seeds or any(len(column) != seeds for column in columns if column is not None):
        raise ValueError("it must have a figure for each seed")
    targets = [network.latencies.keys() for network in found.networks]
    targets += [finding.latency.keys() for finding in found.findings]
    if not found.networks or any(names != targets[0] for names in targets):
        raise ValueError("it must have networks, and figures of each on the same targets")
    if found.test_images < 1:
        raise ValueError("it must have test images")


def _interval(gain: LatencyGain) -> str:
    if gain.ratio_ci is None:
        return ""
    return " ({} {:.3f} to {:.3f})".format(_sure(gain.level), *gain.ratio_ci)


def _sure(level: float | None) -> str:
    return "95 % alone" if level is None else f"{100 * (1 - level):.4g} %"


def _is(verdict: Verdict, better: str, worse: str) -> str:
    return {"better": f": {better}", "worse": f": {worse}", "tie": ": a tie"}[verdict]


WRONG = 0.05
"""The chance that a confirmation finds any difference between equals."""


@dataclass(frozen=True)
class Finalist:
    """A finalist beside the baseline, not judged yet.

    Attributes:
        trial: The trial of the study.
        digest: The digest of the network.
        score: Its scores beside the other's.
        times: Its times beside the other's, by target.
        against: As in `Finding`.
        curves: The scaled family by target, of those that cover it.
    """

    trial: int
    digest: str
    score: Paired
    times: Mapping[str, ComparedPair]
    against: str | None = None
    curves: Mapping[str, FamilyCurve] = field(default_factory=dict)

    @property
    def chances(self) -> list[float]:
        """The chances of its tests: score, the measured targets, the scaled family."""
        measured = [times for times in self.times.values() if isinstance(times, TimedPair)]
        of_family = (curve.here.chance for curve in self.curves.values())
        return [self.score.chance, *(pair.chance for pair in measured), *of_family]


def judge_finalists(
    finalists: Sequence[Finalist], margin: float | None = None
) -> tuple[Finding, ...]:
    """Judge all finalists together; one finding for each.

    Args:
        finalists: The finalists, each beside one other network.
        margin: The loss of score that counts as none; None to leave that open.
    """
    chances = [chance for one in finalists for chance in one.chances]
    judged = iter(judge_together(chances, WRONG))
    equal = _not_worse(finalists, margin)
    return tuple(
        _finding(one, judged, not_worse) for one, not_worse in zip(finalists, equal, strict=True)
    )


def _finding(one: Finalist, judged: Iterator[Judgement], not_worse: NotWorse | None) -> Finding:
    """Judge one finalist, in the order of its chances."""
    score = _scored(one.score, next(judged))
    latency = {
        name: _estimated(times) if isinstance(times, PricedPair) else _timed(times, next(judged))
        for name, times in one.times.items()
    }
    family = {name: curve.judged(next(judged)) for name, curve in one.curves.items()}
    return Finding(one.trial, one.digest, score, latency, one.against, not_worse, family)


def _not_worse(finalists: Sequence[Finalist], margin: float | None) -> list[NotWorse | None]:
    """Test non-inferiority of all, judged together and apart from the other tests."""
    if margin is None:
        return [None] * len(finalists)
    chances = [one.score.chance_if_worse(margin) for one in finalists]
    return [
        NotWorse(one.score.least(each.level), chance, each.more_than_chance, each.level)
        for one, chance, each in zip(
            finalists, chances, judge_together(chances, WRONG), strict=True
        )
    ]


def _scored(paired: Paired, judged: Judgement) -> ScoreGain:
    verdict: Verdict = "tie"
    if judged.more_than_chance:
        verdict = "better" if paired.mean > 0 else "worse"
    low, high = paired.interval(judged.level)
    return ScoreGain(paired.differences, low, high, paired.chance, verdict, judged.level)


def _timed(pair: TimedPair, judged: Judgement) -> LatencyGain:
    return LatencyGain(
        pair.ratio,
        pair.interval(judged.level),
        pair.provenance,
        pair.contended,
        _faster(pair.ratio) if judged.more_than_chance and pair.counts else "tie",
        pair.rule,
        pair.chance,
        judged.level,
    )


def _estimated(times: PricedPair) -> LatencyGain:
    verdict = _faster(times.ratio) if times.counts else "tie"
    return LatencyGain(times.ratio, None, times.provenance, False, verdict, times.rule)


def _faster(ratio: float) -> Verdict:
    return "better" if ratio < 1 else "worse"
