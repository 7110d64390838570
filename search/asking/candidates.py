"""Networks that may be asked: drawn from the space, or changed a little from good ones.

Making one takes milliseconds, most of it for its operators, so each is made once.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester, Replay
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import GuidelineLimits
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.estimates.features import features
from nas_sv2.studies.estimates.latency_model import counts

Array = np.ndarray

NEAR = 2
"""Steps in a range by which a change moves a number at most."""
ATTEMPTS, UNITS = 3, 60
"""Networks that are made for each wanted one, as many exceed the budget or are made twice; and
the units of these networks. A space may have hundreds of units, whose networks take seconds."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that may be asked.

    Attributes:
        architecture: The network.
        features: Its features, which the model of accuracy reads.
        counted: Its counts, which the model of latency reads.
        excesses: Its excess over each limit on cost and each guideline, as a share of it.
    """

    architecture: Architecture
    features: Array
    counted: Array
    excesses: Mapping[str, float]


@dataclass(frozen=True)
class Candidates:
    """Makes candidates of a space.

    Attributes:
        space: The space.
        budget: Limits on cost.
        guidelines: The guidelines as the study began.
        counted: Gives the operators whose cost counts.
    """

    space: SearchSpace
    budget: Budget
    guidelines: GuidelineLimits
    counted: Callable[[Architecture], Graph] = lower
    _made: dict[str, Candidate] = field(default_factory=dict)

    def of(self, architecture: Architecture) -> Candidate:
        """Return the candidate of a network."""
        digest = architecture.digest
        if digest not in self._made:
            graph = self.counted(architecture)
            cost = cost_of(graph)
            excesses = self.budget.excesses_of(graph)
            if max(excesses.values(), default=0.0) <= 0:  # guidelines take longer
                excesses |= self.guidelines.excesses(graph)
            self._made[digest] = Candidate(
                architecture, features(architecture, cost), counts(graph, cost), excesses
            )
        return self._made[digest]

    def at(self, params: Mapping[str, Any]) -> Candidate:
        """Return the candidate of stored parameters.

        Raises:
            ConfigError: They are not of this space.
        """
        return self.of(self.space.sample(Replay(params)))

    def drawn(self, count: int, generator: random.Random) -> list[Candidate]:
        """Draw different networks from the whole space, within the limits on cost."""
        every = iter(lambda: self.space.sample(RandomSuggester(generator)), None)
        return self._first(count, every)

    def near(
        self, parents: Sequence[Candidate], count: int, generator: random.Random
    ) -> list[Candidate]:
        """Change networks a little, each parent about as often; within the limits on cost."""
        return self._first(count, self._changed(parents, generator))

    def _changed(
        self, parents: Sequence[Candidate], generator: random.Random
    ) -> Iterator[Architecture]:
        stored = [self.space.params_of(parent.architecture) for parent in parents]
        while stored:
            for params in stored:
                share = generator.choice((1, 2, 4)) / len(params)
                yield self.space.sample(_Nearby(params, generator, share))

    def _first(self, count: int, every: Iterator[Architecture]) -> list[Candidate]:
        found: dict[str, Candidate] = {}
        units = UNITS * count
        for architecture in islice(every, ATTEMPTS * count):
            units -= sum(stage.depth for stage in architecture.stages)
            candidate = self.of(architecture)
            if all(candidate.excesses[name] <= 0 for name in self._costs):
                found.setdefault(architecture.digest, candidate)
            if len(found) == count or units < 0:
                break
        return list(found.values())

    @cached_property
    def _costs(self) -> tuple[str, ...]:
        return tuple(self.budget.cost_limits)


@dataclass(frozen=True, slots=True)
class _Nearby:
    """Answers as stored, a share of them changed: a number by a few steps, a choice to another."""

    params: Mapping[str, Any]
    generator: random.Random
    share: float

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """The stored number, or one a few steps away."""
        number = self._stored(name, low, high, step)
        if self.generator.random() >= self.share:
            return number
        moved = number + step * self.generator.choice((-1, 1)) * self.generator.randint(1, NEAR)
        return max(low, min(high, moved))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The stored choice, or any."""
        if self.generator.random() >= self.share:
            return self.params[name]
        return self.generator.choice(choices)

    def _stored(self, name: str, low: int, high: int, step: int) -> int:
        """The stored number, or that next to it: a width may be no answer of its range."""
        number = max(low, min(high, int(self.params[name])))
        return low + (number - low) // step * step
