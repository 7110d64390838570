"""Answers to a space's questions that no sampler gives: drawn at random, or the ends."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class RandomSuggester:
    """Uniform answers from a generator of its own."""

    generator: random.Random

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One of low, low + step, ..., high."""
        return self.generator.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""
        return self.generator.choice(choices)


@dataclass(frozen=True, slots=True)
class EndSuggester:
    """The most to every question (`highest`), or the least."""

    highest: bool

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One end of the range."""
        return high if self.highest else low

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The widest stem, largest share, largest kernel, everything that can be added; or not."""
        return max(choices, key=_size) if self.highest else min(choices, key=_size)


def _size(choice: Any) -> Fraction:
    """`64-64-128` by the sum of its widths, `3/4` by the share."""
    parts = choice.split("-") if isinstance(choice, str) else [choice]
    return sum(map(Fraction, parts), start=Fraction())
