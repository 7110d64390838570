"""A sampler that knows latencies and models accuracy: expected hypervolume improvement.

The first candidates cover the space. From then on, a Gaussian process estimates the scores of
networks, and a model of each target their latencies. The networks are drawn from the space, or
changed from the best. The sampler asks for the network by which the front's hypervolume is
expected to grow most. If a target gives latencies without running networks, those of the best
networks are exact.

An answer depends on the seed and on the trials of the study alone. A study that was ended and
resumed thus gets the same candidates. Trials of other workers count with the score that the model
expects of them, so that workers ask for different networks. This is the "kriging believer" of
Ginsbourger, Le Riche and Carraro ("Kriging is well-suited to parallelize optimization", 2010).
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.measurements.measurement import SHORTEST_MS, Latency
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.asking.candidates import Candidate, Candidates
from nas_sv2.search.asking.history import History, HistoryReader
from nas_sv2.search.asking.judge import COVERING, Judge, Learning, counts_of, features_of
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.guidelines import GuidelineLimits
from nas_sv2.studies.estimates.accuracy_model import AccuracyModel
from nas_sv2.studies.estimates.improvement import spread
from nas_sv2.studies.estimates.latency_model import LatencyModel
from nas_sv2.studies.estimates.one_thread import on_one_thread

DRAWN = 400
"""Networks drawn from the whole space, once a process."""
PRICED = 64
"""Those of them whose latency is asked of a target that need not run them."""
ROUNDS, NEARBY, PARENTS = 3, 24, 12
"""Rounds of a search around the best; networks in each, and those that they are changed from."""
EXACT = 8
"""The best networks, whose latency is then asked of a target that need not run them."""
TWO_SIDES = 2 * 1.96
"""Deviations in an interval that holds 95 %."""
Timed = tuple[Candidate, float]
"""A network and its latency in ms."""


@dataclass(frozen=True)
class SamplerSetting:
    """The search that a sampler asks for.

    Attributes:
        space: The space of the candidates.
        walk: Its limits and its targets.
        guidelines: The guidelines as the study began; those of the walk may be relaxed.
        audit: Chooses candidates that may break a guideline.
        informing: The model of accuracy of another study, or None.
        timed: Networks that were timed before the first candidate, by target.
        fused: Whether candidates are compared by the expected score of a longer training.
    """

    space: SearchSpace
    walk: Walk
    guidelines: GuidelineLimits
    audit: Audit
    informing: AccuracyModel | None = None
    timed: Mapping[str, Sequence[Timed]] = field(default_factory=dict)
    fused: bool = False

    def admits(self, candidate: Candidate) -> bool:
        """Whether the walk would train a network, as far as is known without its latency."""
        now, first = self.walk.guidelines.limits, self.guidelines.limits
        within = ((1 + candidate.excesses[name]) * first[name] <= now[name] for name in first)
        return all(within) or self.audit.takes(candidate.architecture.digest)

    @cached_property
    def candidates(self) -> Candidates:
        """The networks that may be asked."""
        return Candidates(self.space, self.walk.budget, self.guidelines, self.walk.counted)

    @cached_property
    def free(self) -> Mapping[str, Target]:
        """The targets that give a latency without running the network, by name."""
        measured, predicted = self.walk.targets, self.walk.screen.predicted
        every = {name: predicted.get(name, measured[name]) for name in measured}
        return {name: one for name, one in every.items() if one.provenance != "measured"}


class EhviSampler(BaseSampler):
    """Asks for the network with the greatest expected hypervolume improvement.

    Args:
        seed: Decides which networks are drawn.
        search: The search.
    """

    def __init__(self, seed: int, search: SamplerSetting) -> None:
        self._search, self._seed, self._candidates = search, seed, search.candidates
        self._reader, self._learning = HistoryReader(self._candidates), Learning(search.informing)
        self._prices: dict[tuple[str, str], Latency | None] = {}
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the distribution of every parameter of the space."""
        questions = _Questions({})
        self._search.space.sample(questions)
        return questions.asked

    @on_one_thread
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the parameters of a network; empty if none within the limits was found."""
        history = self._reader.read(study, trial.number)
        chosen = self._chosen(history)
        return {} if chosen is None else self._search.space.params_of(chosen.architecture)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a parameter, since no network within the limits was found."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    @cached_property
    def _drawn(self) -> list[Candidate]:
        return self._candidates.drawn(DRAWN, random.Random(self._seed))

    def _chosen(self, history: History) -> Candidate | None:
        drawn = self._askable(self._drawn, history)
        if len(history.trained) < COVERING:
            return self._covering(drawn, history)
        models = self._latency_models(history)
        limits = self._search.walk.budget.latency_ms
        accuracy = self._learning.model(history)
        known = self._drawn or history.trained  # hardly any network keeps the limits on cost
        judge = Judge.of(accuracy, models, history, known, limits, self._search.fused)
        generator = random.Random(f"{self._seed} {len(history.known)}")
        best = _ranked(drawn, judge)
        for number in range(ROUNDS):
            parents = [*best[:PARENTS], *(judge.front if number == 0 else ())]
            near = self._candidates.near(parents, NEARBY, generator)
            fresh = {
                one.architecture.digest: one for one in (*best, *self._askable(near, history))
            }
            best = _ranked(list(fresh.values()), judge)
        return self._exactly_best(best[:EXACT], judge)

    def _askable(self, candidates: Sequence[Candidate], history: History) -> list[Candidate]:
        """Leave out networks that are known, or that the walk would not train."""
        admits, known = self._search.admits, history.known
        new = (one for one in candidates if one.architecture.digest not in known)
        return [one for one in new if admits(one)]

    def _covering(self, drawn: Sequence[Candidate], history: History) -> Candidate | None:
        """Choose the network that is the farthest from those that were asked."""
        others = [*history.trained, *history.pending]
        if not drawn:
            return None
        points = features_of([*drawn, *others])
        points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-9)
        far = spread(points[: len(drawn)], min(EXACT, len(drawn)), points[len(drawn) :])
        within = (drawn[place] for place in far if self._within_latency(drawn[place]))
        return next(within, drawn[far[0]])

    def _within_latency(self, candidate: Candidate) -> bool:
        """Whether a network keeps the limits on latency, of targets that need not run it."""
        limits = self._search.walk.budget.latency_ms
        for name in self._search.free:
            latency = self._price(name, candidate)
            if latency is None or latency.ms > limits.get(name, math.inf):
                return False
        return True

    def _latency_models(self, history: History) -> dict[str, LatencyModel]:
        """Fit a model to the latencies of each target that are known."""
        models = {}
        for place, name in enumerate(self._search.walk.targets, 1):
            known, ms = list(history.trained), list(history.values[:, place])
            for one, first_ms in self._search.timed.get(name, ()):
                known.append(one)
                ms.append(first_ms)
            for one in self._drawn[:PRICED] if name in self._search.free else ():
                latency = self._price(name, one)
                if latency is not None:
                    known.append(one)
                    ms.append(latency.ms)
            models[name] = LatencyModel.fitted(counts_of(known), features_of(known), np.array(ms))
        return models

    def _exactly_best(self, best: Sequence[Candidate], judge: Judge) -> Candidate | None:
        """Choose among the best, by their latencies if a target tells them."""
        if not best:
            return None
        estimates = judge.estimates(best)
        kept = np.ones(len(best), dtype=bool)
        for place, name in enumerate(self._search.walk.targets):
            if name not in self._search.free:
                continue
            for number, candidate in enumerate(best):
                latency = self._price(name, candidate)
                kept[number] &= latency is not None
                if latency is not None:
                    mean, deviation = _logarithm(latency)
                    estimates.log_ms[number, place] = mean
                    estimates.log_ms_deviation[number, place] = deviation
        growth = np.where(kept, judge.growth(estimates), -1.0)
        return best[int(np.argmax(growth))] if kept.any() else None

    def _price(self, name: str, candidate: Candidate) -> Latency | None:
        """The latency that a target tells without running the network; None if it cannot."""
        key = name, candidate.architecture.digest
        if key not in self._prices:
            try:
                self._prices[key] = self._search.free[name].estimate(candidate.architecture)
            except MeasurementError:
                self._prices[key] = None
        return self._prices[key]


def _ranked(found: Iterable[Candidate], judge: Judge) -> list[Candidate]:
    """Sort networks by the growth that is expected of them, the best first."""
    candidates = list(found)
    if not candidates:
        return []
    growth = judge.growth(judge.estimates(candidates))
    return [candidates[place] for place in np.argsort(-growth, kind="stable")]


def _logarithm(latency: Latency) -> tuple[float, float]:
    """The logarithm of a latency, and its deviation if it is predicted."""
    if latency.ci_ms is None:
        return math.log(latency.ms), 0.0
    low, high = (math.log(max(end, SHORTEST_MS)) for end in latency.ci_ms)
    return math.log(latency.ms), (high - low) / TWO_SIDES


@dataclass(frozen=True, slots=True)
class _Questions:
    """Notes the questions of a space as Optuna's distributions."""

    asked: dict[str, BaseDistribution]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Note a range; the least of it."""
        self.asked[name] = IntDistribution(low, high, step=step)
        return low

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Note choices; the first of them."""
        self.asked[name] = CategoricalDistribution(choices)
        return choices[0]
