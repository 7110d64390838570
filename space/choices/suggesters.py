"""Answers to a space's questions: checked ones of a trial, drawn at random, or the ends."""

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from nas_sv2.errors import ConfigError


class Trial(Protocol):
    """The part of an Optuna trial that answers."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One of low, low + step, ..., high."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The answers of an Optuna trial, which may hold values that somebody queued.

    Optuna only warns of a number outside its range, and uses it.
    """

    trial: Trial

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One of low, low + step, ..., high.

        Raises:
            ConfigError: The queued value is another.
        """
        allowed = f"must be from {low} to {high} in steps of {step}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                number = self.trial.suggest_int(name, low, high, step=step)
            except ValueError as error:
                raise ConfigError(name, str(error), allowed) from None
        if number not in range(low, high + 1, step):
            raise ConfigError(name, number, allowed)
        return int(number)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`.

        Raises:
            ConfigError: The queued value is another.
        """
        try:
            return self.trial.suggest_categorical(name, choices)
        except ValueError as error:
            allowed = "must be one of " + ", ".join(map(str, choices))
            raise ConfigError(name, str(error).partition(" not in ")[0], allowed) from None


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
