"""Networks of a space that are chosen so that few of them show most of it.

Trajectories of elementary effects show whether a training ranks networks (Morris, "Factorial
sampling plans for preliminary computational experiments", Technometrics 1991). All dimensions vary
along one, and yet each network differs from the one before it in a single dimension. Other
networks have equal FLOPs, so that counting tells nothing. A Latin hypercube takes every part of
every choice equally often, to fit predictors to.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

DIMENSIONS = ("depth", "width", "split", "kernel", "se", "residual", "ends")
"""What a step of a trajectory changes, in all stages at once; `ends` are stem and head."""

TOLERANCE = 0.05  # how far from each other networks of "equal" FLOPs may be from the middle
_DRAWS = 3_000  # after which a space is said to have too few networks of equal FLOPs
_ROUTES = 20  # trajectories drawn until one has no step that leaves the network as it is


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two networks that differ in one dimension, by their place in the set.

    Attributes:
        dimension: One of `DIMENSIONS`.
        low: The one whose choices are from the lower half: shallower, narrower, a smaller share
            convolved, a smaller kernel, without.
        high: The other.
    """

    dimension: str
    low: int
    high: int


@dataclass(frozen=True)
class Trajectories:
    """Networks that vary jointly, and the pairs of them that differ in one dimension."""

    networks: tuple[Architecture, ...]
    pairs: tuple[Contrast, ...]


def trajectories(space: SearchSpace, count: int, seed: int = 0) -> Trajectories:
    """`count` trajectories through `space`, of one network more than it has dimensions to change.

    Raises:
        ConfigError: The space offers no choice in any dimension.
    """
    draw = random.Random(seed)
    networks: list[Architecture] = []
    pairs: list[Contrast] = []
    for _ in range(count):
        for dimension, upper, network in _route_without_void(space, draw, networks):
            networks.append(network)
            if dimension is not None:
                high, low = len(networks) - 1, len(networks) - 2
                pairs.append(Contrast(dimension, *((low, high) if upper else (high, low))))
    if not pairs:
        raise ConfigError("space", space.name, "must be a space in which something can be varied")
    return Trajectories(tuple(networks), tuple(pairs))


_Step = tuple[str | None, bool, Architecture]
"""What was changed, whether upwards, and the network after it."""


def _route_without_void(
    space: SearchSpace, draw: random.Random, known: Sequence[Architecture]
) -> list[_Step]:
    """The first trajectory in which every step builds another network, else the longest."""
    longest: list[_Step] = []
    for _ in range(_ROUTES):
        steps, whole = _route(space, draw, known)
        if whole:
            return steps
        longest = max(longest, steps, key=len)
    return longest


def _route(
    space: SearchSpace, draw: random.Random, known: Sequence[Architecture]
) -> tuple[list[_Step], bool]:
    """A trajectory up to the first step that builds a network known already; whether none does.

    A dimension without a choice is passed over. A residual at depth 1 is a choice, and changes
    nothing that is built.
    """
    built = {lower(network) for network in known}
    levels = {dimension: draw.random() < 0.5 for dimension in DIMENSIONS}
    answers = {one: _Halves(levels[one], draw.random()) for one in DIMENSIONS}
    steps: list[_Step] = [(None, False, space.sample(_Answers(answers)))]
    for dimension in draw.sample(DIMENSIONS, len(DIMENSIONS)):
        levels[dimension] = not levels[dimension]
        answers[dimension] = _Halves(levels[dimension], draw.random())
        changed = space.sample(_Answers(answers))
        if changed == steps[-1][2]:
            continue
        built.add(lower(steps[-1][2]))
        if lower(changed) in built:
            return steps, False
        steps.append((dimension, levels[dimension], changed))
    return steps, True


def flops_matched(
    space: SearchSpace, flops: float, count: int, seed: int = 0
) -> tuple[Architecture, ...]:
    """`count` different random networks whose multiply-adds are within `TOLERANCE` of `flops`.

    Raises:
        ConfigError: Too few were found.
    """
    draw = random.Random(f"matched {seed}")
    found: dict[str, Architecture] = {}
    for _ in range(_DRAWS):
        network = space.sample(RandomSuggester(draw))
        if abs(cost_of(lower(network)).flops / flops - 1) <= TOLERANCE:
            found.setdefault(network.digest, network)
        if len(found) == count:
            return tuple(found.values())
    raise ConfigError(
        "space",
        space.name,
        f"must be a space with {count} networks within {TOLERANCE:.0%} of {flops / 1e6:.2f} M "
        f"multiply-adds; {len(found)} were found among {_DRAWS:,}",
    )


def latin_hypercube(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """`count` networks that take every part of every choice equally often (a Latin hypercube).

    Widths, depths and splits are spread to both ends, and multiply-adds and latency with them.
    """
    answers = _HypercubeAnswers(count, random.Random(seed))
    return [space.sample(answers.of(network)) for network in range(count)]


@dataclass(frozen=True, slots=True)
class _Halves:
    """Draws from the upper or the lower half of the choices, always the same.

    A middle belongs to neither, so that a step leaves no stage as it was.
    """

    upper: bool
    seed: float

    def among(self, choices: Sequence[Any], name: str) -> Any:
        half = max(1, len(choices) // 2)
        offered = choices[-half:] if self.upper else choices[:half]
        return random.Random(f"{self.seed} {name}").choice(list(offered))


@dataclass(frozen=True, slots=True)
class _Answers:
    """Answers from the half that was chosen for each dimension, as a `Suggester`."""

    by_dimension: Mapping[str, _Halves]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Draw from the half of its dimension."""
        return int(self._of(name).among(range(low, high + 1, step), name))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw from the half of its dimension, in the order of the choices."""
        return self._of(name).among(choices, name)

    def _of(self, name: str) -> _Halves:
        option = name.split(".")[-1]
        return self.by_dimension.get(option, self.by_dimension["ends"])


@dataclass(frozen=True)
class _HypercubeAnswers:
    """Answers for network `network`: each network takes another place in every parameter."""

    count: int
    generator: random.Random
    network: int = 0
    places: dict[str, list[int]] = field(default_factory=dict)

    def of(self, network: int) -> "_HypercubeAnswers":
        """The answers for another network, which share the places."""
        return replace(self, network=network)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Go from low for the first place to high for the last."""
        share = self._place(name) / max(1, self.count - 1)
        return low + step * round(share * ((high - low) // step))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Each choice for its part of the places."""
        return choices[self._place(name) * len(choices) // self.count]

    def _place(self, name: str) -> int:
        if name not in self.places:
            self.places[name] = self.generator.sample(range(self.count), self.count)
        return self.places[name][self.network]
