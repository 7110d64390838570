"""How well a recipe ranks networks: what was trained, and what follows from it.

A certificate keeps the scores themselves; every figure is derived from them. It holds for one
recipe, one data set and the networks of one space.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas_sv2.documents import reading_stored
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.plain_data import parse_json
from nas_sv2.space.choices.probe_networks import Contrast
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document, architecture_to_document
from nas_sv2.studies.findings.rank_agreement import (
    Decisive,
    Estimate,
    chance_of,
    decisive,
    kendall,
    lead,
    seed_noise,
    smallest_difference,
    spearman,
)

UNCERTIFIED = "not certified: how well it ranks is not known"


@dataclass(frozen=True)
class ScoredNetwork:
    """One network of a certificate.

    Attributes:
        architecture: The network.
        scores: The scores by the recipe, one for each seed; higher is better.
        reference: The scores by the reference recipe, with the same seeds.
        seconds: The time of one evaluation by the recipe, mean over the seeds, on one thread.
        counts: Scores that need no training (`flops`, `synflow`, ...), of the form that is
            trained, mean over the seeds; higher is better.
    """

    architecture: Architecture
    scores: tuple[float, ...]
    reference: tuple[float, ...]
    seconds: float
    counts: Mapping[str, float]

    @property
    def score(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.scores)

    @property
    def truth(self) -> float:
        """Mean of the reference."""
        return statistics.fmean(self.reference)


@dataclass(frozen=True)
class Ranking:
    """How a score orders a set of networks, against the reference; one training's, on average.

    Attributes:
        tau: Kendall's τ.
        rho: Spearman's ρ.
        chance: How often unrelated orders agree as well (one-sided).
        decisive: The pairs that the reference tells apart.
    """

    tau: Estimate
    rho: Estimate
    chance: float
    decisive: Decisive


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of one dimension, on average over the pairs that differ in it alone.

    Attributes:
        dimension: One of `probe_networks.DIMENSIONS`.
        pairs: The number of pairs.
        right: The number of `separated` pairs on whose sign recipe and reference agree.
        separated: The number of pairs that the reference tells apart.
        ours: The mean score of the higher end minus that of the lower, by the recipe.
        theirs: The same by the reference.
    """

    dimension: str
    pairs: int
    right: int
    separated: int
    ours: float
    theirs: float

    @property
    def bias(self) -> float:
        """The bias; below 0, the recipe prefers the lower end (shallow, narrow, ...) too much."""
        return self.ours - self.theirs


@dataclass(frozen=True)
class Certificate:
    """The result of a qualification.

    Attributes:
        recipe: The name of the recipe.
        recipe_digest: The digest of the recipe.
        reference: The name of the recipe that is held for the truth.
        reference_digest: The digest of the reference.
        scored_by: The score of the recipe, as `Recipe.score` names it.
        reference_scored_by: The same for the reference.
        data: The data, as evaluations record them.
        space: The name of the space whose networks were trained.
        space_digest: The digest of the space.
        place: The processor that trained, as evaluations record it.
        longer: The training images that the reference saw, over those that the recipe saw.
        joint: Networks that vary in everything at once.
        matched: Networks of equal FLOPs.
        contrasts: Pairs in `joint` that differ in one dimension.
        before_seconds: Wall time spent once, before the first candidate: the training of a
            supernet, which `recipe` then names; 0 where candidates are trained.
    """

    recipe: str
    recipe_digest: str
    reference: str
    reference_digest: str
    scored_by: str
    reference_scored_by: str
    data: str
    space: str
    space_digest: str
    place: str
    longer: float
    joint: tuple[ScoredNetwork, ...]
    matched: tuple[ScoredNetwork, ...]
    contrasts: tuple[Contrast, ...]
    before_seconds: float = 0.0

    @property
    def networks(self) -> tuple[ScoredNetwork, ...]:
        """All of them."""
        return (*self.joint, *self.matched)

    @property
    def seeds(self) -> int:
        """Trainings of each network by each recipe."""
        return len(self.joint[0].reference)

    @cached_property
    def noise(self) -> float | None:
        """Standard deviation of a score between seeds, as `seed_noise`; None with one seed."""
        return seed_noise([one.scores for one in self.networks])

    @cached_property
    def reference_noise(self) -> float | None:
        """The same of one training by the reference."""
        return seed_noise([one.reference for one in self.networks])

    @property
    def smallest_difference(self) -> float | None:
        """The difference of two scores that the seed alone exceeds in one pair of twenty."""
        return None if self.noise is None else smallest_difference(self.noise, 1)

    @property
    def told_apart(self) -> float:
        """The gap from which the reference tells two networks apart; 0 with one seed."""
        noise = self.reference_noise
        return 0.0 if noise is None else smallest_difference(noise, self.seeds)

    @property
    def seconds(self) -> float:
        """The time of a candidate, mean over the networks, on one thread."""
        return statistics.fmean(one.seconds for one in self.networks)

    def ranking(self, networks: Sequence[ScoredNetwork], by: str | None = None) -> Ranking:
        """How the recipe ranks `networks`, or one of the counts where `by` names it."""
        ours, truth = _runs(networks, by), [one.truth for one in networks]
        return Ranking(
            kendall(ours, truth),
            spearman(ours, truth),
            chance_of(ours, truth),
            decisive(ours, truth, self.told_apart),
        )

    def lead_over(self, networks: Sequence[ScoredNetwork], by: str) -> Estimate:
        """Return the recipe's τ minus that of a count."""
        truth = [one.truth for one in networks]
        return lead(_runs(networks, None), _runs(networks, by), truth)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """The effects by dimension, in the order in which they occur."""
        names = dict.fromkeys(pair.dimension for pair in self.contrasts)
        return tuple(self._effect(name) for name in names)

    def describe(self) -> str:
        """Describe the certificate in one line, for searches and fronts."""
        joint = self.ranking(self.joint)
        words = [
            f"certified on {self.data}, space {self.space}: τ {joint.tau} over "
            f"{len(self.joint)} networks against {self.against}",
            f"decisive pairs right {joint.decisive}",
        ]
        if self.matched:
            matched = self.ranking(self.matched)
            words.append(f"at equal FLOPs τ {matched.tau} over {len(self.matched)}")
        if self.smallest_difference is not None:
            words.append(f"gaps under {self.in_words(self.smallest_difference)} are ties")
        return "; ".join(words)

    @property
    def against(self) -> str:
        """The reference; how much longer it is says nothing beside a supernet."""
        if self.before_seconds:
            return f"training by {self.reference}"
        return f"{self.longer:.3g}× longer training"

    def in_words(self, difference: float) -> str:
        """A difference of the recipe's scores."""
        return facts_of(self.scored_by).difference(difference)

    def in_reference_words(self, difference: float) -> str:
        """A difference of the reference's scores."""
        return facts_of(self.reference_scored_by).difference(difference)

    def to_json(self) -> str:
        """One line that `from_json` reads back to an equal value."""
        data = dataclasses.asdict(self)
        for part in ("joint", "matched"):
            for one, plain in zip(getattr(self, part), data[part], strict=True):
                plain["architecture"] = architecture_to_document(one.architecture)
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """The certificate that `to_json` wrote.

        Raises:
            StoreError: The text is not one.
        """
        with reading_stored("a stored certificate", "nas-sv2 recipe qualify makes a new one"):
            data = parse_json(text)
            for part in ("joint", "matched"):
                data[part] = tuple(_trained(one) for one in data[part])
            data["contrasts"] = tuple(Contrast(**one) for one in data["contrasts"])
            return cls(**data)

    def _effect(self, dimension: str) -> Effect:
        pairs = [pair for pair in self.contrasts if pair.dimension == dimension]
        ours = [self._gap(pair, lambda one: one.score) for pair in pairs]
        theirs = [self._gap(pair, lambda one: one.truth) for pair in pairs]
        separated = [
            gaps for gaps in zip(ours, theirs, strict=True) if abs(gaps[1]) > self.told_apart
        ]
        return Effect(
            dimension,
            len(pairs),
            sum(mine * gap > 0 for mine, gap in separated),
            len(separated),
            statistics.fmean(ours),
            statistics.fmean(theirs),
        )

    def _gap(self, pair: Contrast, of: Callable[[ScoredNetwork], float]) -> float:
        return of(self.joint[pair.high]) - of(self.joint[pair.low])


def _runs(networks: Sequence[ScoredNetwork], by: str | None) -> list[list[float]]:
    if by is not None:
        return [[one.counts[by] for one in networks]]
    return [list(run) for run in zip(*(one.scores for one in networks), strict=True)]


def _trained(data: dict[str, Any]) -> ScoredNetwork:
    return ScoredNetwork(
        architecture_from_document(data["architecture"]),
        tuple(data["scores"]),
        tuple(data["reference"]),
        data["seconds"],
        data["counts"],
    )
