"""Sets of networks to which a recipe or a predictor is held."""

import dataclasses
from pathlib import Path

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.space.choices import probe_networks
from nas_sv2.space.choices.levels import named_space, open_space
from nas_sv2.space.choices.probe_networks import (
    DIMENSIONS,
    TOLERANCE,
    flops_matched,
    latin_hypercube,
    trajectories,
)
from nas_sv2.space.choices.search_space import Range
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

SPACE = named_space("40M")


def _dimension(network: Architecture, name: str) -> object:
    if name == "ends":
        return network.stem, network.head
    return tuple(getattr(stage, name) for stage in network.stages)


@pytest.mark.parametrize("seed", range(5))
def test_each_pair_differs_in_its_dimension_alone(seed: int) -> None:
    found = trajectories(SPACE, 2, seed)
    assert len({network.digest for network in found.networks}) == len(found.networks) == 16
    for pair in found.pairs:
        low, high = found.networks[pair.low], found.networks[pair.high]
        # A width moves to what its split divides, and above the stem; no other answer moves.
        differing = {
            name for name in DIMENSIONS if _dimension(low, name) != _dimension(high, name)
        }
        assert pair.dimension in differing
        assert differing <= {pair.dimension, "width"}
        if pair.dimension not in {"split", "ends"}:
            assert differing == {pair.dimension}


@pytest.mark.parametrize("seed", range(5))
def test_every_step_builds_another_network_and_moves_every_stage(seed: int) -> None:
    small = Path("docs/lab/certificates/space.yaml")
    found = trajectories(open_space(str(small)), 2, seed)
    assert len({lower(network) for network in found.networks}) == len(found.networks) == 16
    for pair in found.pairs:
        if pair.dimension in {"split", "kernel", "se", "residual"}:
            for low, high in zip(
                found.networks[pair.low].stages, found.networks[pair.high].stages, strict=True
            ):
                assert getattr(low, pair.dimension) < getattr(high, pair.dimension)


def test_a_residual_that_cannot_be_built_is_no_step() -> None:
    flat = dataclasses.replace(
        SPACE,
        stages=tuple(dataclasses.replace(one, depth=Range(1, 1)) for one in SPACE.stages),
    )
    found = trajectories(flat, 1)
    assert len({lower(network) for network in found.networks}) == len(found.networks)


@pytest.mark.parametrize("name", ["depth", "width", "split", "kernel", "se", "residual"])
def test_high_is_nowhere_lower_and_somewhere_higher(name: str) -> None:
    found = trajectories(SPACE, 3, seed=1)
    pairs = [pair for pair in found.pairs if pair.dimension == name]
    assert len(pairs) == 3
    for pair in pairs:
        low, high = found.networks[pair.low], found.networks[pair.high]
        lows, highs = ([getattr(stage, name) for stage in one.stages] for one in (low, high))
        assert all(a <= b for a, b in zip(lows, highs, strict=True))
        assert lows != highs


def test_matched_networks_are_within_the_tolerance_and_differ() -> None:
    networks = flops_matched(SPACE, 40e6, 8)
    assert len({network.digest for network in networks}) == 8
    for network in networks:
        assert abs(cost_of(lower(network)).flops / 40e6 - 1) <= TOLERANCE
    assert flops_matched(SPACE, 40e6, 5) == networks[:5]


def test_too_few_matched_networks_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_networks, "_DRAWS", 20)
    with pytest.raises(ConfigError, match=r"3 networks within 5% of 900000\.00 M"):
        flops_matched(SPACE, 900e9, 3)


def test_few_networks_take_every_part_of_every_choice() -> None:
    space = named_space("140M")
    networks = latin_hypercube(space, 16, seed=1)
    widths = sorted(network.stages[1].width for network in networks)
    assert (widths[0], widths[-1]) == (128, 352)
    assert sorted(network.stages[0].se for network in networks) == [False] * 8 + [True] * 8
    assert networks == latin_hypercube(space, 16, seed=1) != latin_hypercube(space, 16, seed=2)
