"""Networks spread evenly over a space, so that few of them show most of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.units.architecture import Architecture


def spread(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """`count` networks that take every part of every choice equally often (a Latin hypercube).

    Widths, depths and splits are spread to both ends, and multiply-adds and latency with them.
    """
    answers = _Spread(count, random.Random(seed))
    found = []
    for answers.network in range(count):
        found.append(space.sample(answers))
    return found


@dataclass
class _Spread:
    """Answers of network number `network`: for each parameter all take another place in it."""

    count: int
    generator: random.Random
    network: int = 0
    places: dict[str, list[int]] = field(default_factory=dict)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """From low for the first place to high for the last."""
        share = self._place(name) / max(1, self.count - 1)
        return low + step * round(share * ((high - low) // step))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Each choice for its part of the places."""
        return choices[self._place(name) * len(choices) // self.count]

    def _place(self, name: str) -> int:
        if name not in self.places:
            self.places[name] = self.generator.sample(range(self.count), self.count)
        return self.places[name][self.network]
