"""The samplers by name.

They are beside the loop and not beside the plan of a search, which loads torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from nas_sv2.search.asking.sampler import EhviSampler, SamplerSetting


@dataclass(frozen=True, slots=True)
class SamplerChoice:
    """How a sampler is made and fed.

    Attributes:
        make: The sampler for a seed and a search.
        learns_from_pruned: Whether it takes the constraints of a PRUNED trial into account.
            NSGA-II and the Gaussian process look at COMPLETE trials alone. So they get rejected
            candidates with the worst values seen, and with their constraints.
        resumes: Whether a new sampler with the same seed continues after the last one's
            candidates. Others would repeat their first ones.
        models_latency: Whether it has a model of latency, which begins with a few measurements.
    """

    make: Callable[[int, SamplerSetting], BaseSampler]
    learns_from_pruned: bool
    resumes: bool = False
    models_latency: bool = False


SAMPLERS: dict[str, SamplerChoice] = {
    "ehvi": SamplerChoice(EhviSampler, True, resumes=True, models_latency=True),
    "tpe": SamplerChoice(lambda seed, search: TPESampler(seed=seed), True),
    "nsga2": SamplerChoice(lambda seed, search: NSGAIISampler(seed=seed), False),
    "gp": SamplerChoice(lambda seed, search: GPSampler(seed=seed), False),
    "random": SamplerChoice(lambda seed, search: RandomSampler(seed=seed), True),
}
