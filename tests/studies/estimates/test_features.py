"""Features of networks: as many for all networks of a space, of any number of stages."""

import random

import numpy as np
import pytest

from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.search_space import space_from_document
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.estimates.features import features


def of(architecture: Architecture) -> np.ndarray:
    return features(architecture, cost_of(lower(architecture)))


def test_they_tell_the_networks_of_a_space_apart() -> None:
    space, drawn = open_space("140M"), random.Random(0)
    rows = np.array([of(space.sample(RandomSuggester(drawn))) for _ in range(20)])
    assert np.all(np.isfinite(rows)) and len(np.unique(rows, axis=0)) == 20


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_a_space_may_have_other_numbers_of_stages(stages: int) -> None:
    every = [{"depth": 2, "width": 16 * 2**number} for number in range(stages)]
    document = {"nas_sv2_space": 1, "stem": [8], "head": 64, "stages": every}
    space = space_from_document(document, "s")
    assert of(space.sample(RandomSuggester(random.Random(0)))).shape == (5 + 8 * stages,)


def test_the_first_is_the_logarithm_of_flops() -> None:
    assert np.exp(of(reference("shufflenet_v2_x1_0"))[0]) == pytest.approx(145.8e6, rel=1e-3)
