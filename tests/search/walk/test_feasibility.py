import dataclasses
import time

import pytest
from doubles import FakeEvaluator, FakeTarget, small_space

from nas_sv2.errors import ConfigError, InfeasibleError, MeasurementError
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.search.walk import feasibility
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.feasibility import check_feasible
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.search_space import Range, SearchSpace
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.networks.lowering import Network


def walk(budget: Budget, **limits: float) -> tuple[Walk, FakeTarget]:
    target = FakeTarget()
    return Walk(Guidelines(limits), budget, {"fake": target}, FakeEvaluator()), target


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasibility, "SAMPLES", 200)


@pytest.mark.parametrize(
    "budget",
    [Budget(), Budget(flops=70_000), Budget(flops=1e6, latency_ms={"fake": 0.07})],
)
def test_what_can_be_met_passes(budget: Budget) -> None:
    check_feasible(small_space(), walk(budget)[0], seed=0)


@pytest.mark.parametrize(
    ("budget", "limits", "nearest"),
    [
        (Budget(flops=50_000), {}, r"keeps 0\.05 MFLOPs \+ 5%: the nearest has 0\.068 MFLOPs$"),
        (Budget(params=100), {}, r"keeps 0\.0001 M params: the nearest has .* M params$"),
        (
            Budget(),
            {"G4": 0.01},
            "keeps the guidelines: the nearest has G4 beyond its limit; "
            "--guidelines off searches without the guidelines$",
        ),
        (
            Budget(params=100, latency_ms={"fake": 1}),
            {"G4": 0.01},
            r"keeps 0\.0001 M params and the guidelines: .*[^s]$",
        ),
        (Budget(latency_ms={"fake": 0.05}), {}, r"0\.068 ms on fake \(measured\)"),
    ],
)
def test_what_cannot_be_met_is_said_with_the_nearest_figure(
    budget: Budget, limits: dict[str, float], nearest: str
) -> None:
    candidate, target = walk(budget, **limits)
    with pytest.raises(InfeasibleError, match=nearest) as caught:
        check_feasible(small_space(), candidate, seed=0)
    assert caught.value.exit_code == 3
    assert len(target.asked) <= feasibility.TIMED


def test_a_limit_of_time_that_no_network_keeps_names_ways_to_faster_ones() -> None:
    candidate, _ = walk(Budget(latency_ms={"fake": 0.05}))
    for level, size, said in (
        ("140M", (96, 96), "--space 40M has smaller networks, and a"),
        ("40M", (96, 128), "a"),
    ):
        space = dataclasses.replace(LEVELS[level], resolution=size)
        shown = f"{level} at {size[0]}×{size[1]} "
        with pytest.raises(InfeasibleError, match=f"{shown}.*; {said} smaller --input"):
            check_feasible(space, candidate, seed=0)


def deep(high: int) -> SearchSpace:
    """A space of networks of which only the shallowest keep a small budget."""
    stages = tuple(
        dataclasses.replace(stage, depth=Range(1, high)) for stage in LEVELS["140M"].stages
    )
    return dataclasses.replace(LEVELS["140M"], name="deep", stages=stages, baselines=())


@pytest.mark.parametrize("high", [300, 1000])
def test_a_space_in_which_few_networks_fit_is_said_in_seconds(
    high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feasibility, "LONGEST_S", 0.5)
    began = time.thread_time()
    with pytest.raises(InfeasibleError, match=r"none of \d+ .* the smallest one keeps them"):
        check_feasible(deep(high), walk(Budget(flops=60e6))[0], seed=0)
    assert time.thread_time() - began < 8


def test_more_units_than_can_be_built_are_refused() -> None:
    with pytest.raises(ConfigError, match="depth must be a whole number from 1 to 1000; got 1001"):
        deep(1001)


def test_few_networks_within_the_limits_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasibility, "FEW", 0.2)
    lines: list[str] = []
    check_feasible(deep(20), walk(Budget(flops=150e6))[0], seed=0, notify=lines.append)
    assert "few networks of space deep keep the limits on cost: 1 of 7 sampled" in lines[0]


def test_many_networks_within_the_limits_are_not_worth_a_word() -> None:
    check_feasible(small_space(), walk(Budget())[0], seed=0, notify=pytest.fail)


@dataclasses.dataclass
class Blind(FakeTarget):
    """An emulated target that has no price for the input."""

    provenance: Provenance = "emulated"

    def estimate(self, network: Network) -> Latency:
        self.asked.append(network.digest)
        raise MeasurementError("no price for stem.0")


def test_a_target_that_cannot_price_the_input_is_refused_once() -> None:
    blind = Blind()
    candidate = Walk(Guidelines({}), Budget(), {"blind": blind}, FakeEvaluator())
    with pytest.raises(ConfigError, match=r"must price .* no price for stem\.0"):
        check_feasible(small_space(), candidate, seed=0)
    assert len(blind.asked) == 1
