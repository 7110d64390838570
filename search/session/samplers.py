"""Samplers by name, and what each has to be told of a candidate that breaks a limit."""

from collections.abc import Callable
from dataclasses import dataclass

from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from nas_sv2.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SamplerChoice:
    """How a sampler is made and fed.

    Attributes:
        make: The sampler for a seed.
        learns_from_pruned: Whether it takes the constraints of a PRUNED trial into account.
            NSGA-II and the Gaussian process look at COMPLETE trials alone, so that rejected
            candidates are told to them with the worst values seen, and their constraints.
    """

    make: Callable[[int], BaseSampler]
    learns_from_pruned: bool


SAMPLERS: dict[str, SamplerChoice] = {
    "tpe": SamplerChoice(lambda seed: TPESampler(seed=seed), True),
    "nsga2": SamplerChoice(lambda seed: NSGAIISampler(seed=seed), False),
    "gp": SamplerChoice(lambda seed: GPSampler(seed=seed), False),
    "random": SamplerChoice(lambda seed: RandomSampler(seed=seed), True),
}


def sampler_choice(name: str) -> SamplerChoice:
    """The sampler of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in SAMPLERS:
        raise ConfigError("sampler", name, "must be one of " + ", ".join(SAMPLERS))
    return SAMPLERS[name]
