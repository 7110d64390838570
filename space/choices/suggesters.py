"""Answers to a space's questions: of a trial, stored, drawn at random, or the ends."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from nas_sv2.errors import ConfigError


class Suggester(Protocol):
    """The part of a trial that sampling needs; `optuna.Trial` and `FixedTrial` have it."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One of low, low + step, ..., high."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The answers of an Optuna trial, some of which somebody queued.

    Queued answers are checked before the trial gives them. Optuna only warns of a number outside
    its range, and cannot read a study any more once it has stored an infinite one.
    """

    trial: Suggester
    queued: Mapping[str, Any] = field(default_factory=dict)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One of low, low + step, ..., high.

        Raises:
            ConfigError: The queued value is another.
        """
        _check_number(name, self.queued.get(name, low), range(low, high + 1, step))
        return self.trial.suggest_int(name, low, high, step=step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`.

        Raises:
            ConfigError: The queued value is another.
        """
        _check_choice(name, self.queued.get(name, choices[0]), choices)
        # A queued 3.0 is the choice 3, which Optuna takes and gives back as it was queued.
        return choices[choices.index(self.trial.suggest_categorical(name, choices))]


@dataclass(frozen=True, slots=True)
class Replay:
    """Answers from stored parameters, each of which must be there and allowed."""

    params: Mapping[str, Any]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """The stored number.

        Raises:
            ConfigError: It is missing or not allowed.
        """
        number = self.params.get(name)
        _check_number(name, number, range(low, high + 1, step))
        return int(number)  # type: ignore[arg-type]  # it is in the range

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The stored choice.

        Raises:
            ConfigError: It is missing or not allowed.
        """
        value = self.params.get(name)
        _check_choice(name, value, choices)
        return value


def _check_number(name: str, number: object, allowed: range) -> None:
    if number not in allowed:
        low, high = allowed[0], allowed[-1]
        raise ConfigError(name, number, f"must be from {low} to {high} in steps of {allowed.step}")


def _check_choice(name: str, value: object, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ConfigError(name, value, "must be one of " + ", ".join(map(str, choices)))


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
