import pytest
from doubles import FakeEvaluator, FakeTarget

from nas_sv2.errors import Rejected
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.units.reference import reference

V2 = reference("shufflenet_v2_x0_5")  # 40.5 MFLOPs, 1.37 M params, 40.5 ms on the stand-in


def walk(
    budget: Budget, limits: dict[str, float] | None = None
) -> tuple[Walk, FakeTarget, FakeEvaluator]:
    target, evaluator = FakeTarget(), FakeEvaluator()
    return Walk(Guidelines(limits or {}), budget, {"fake": target}, evaluator), target, evaluator


@pytest.mark.parametrize(
    ("budget", "limits", "broken", "timed"),
    [
        (Budget(flops=30e6), {}, "flops", False),
        (Budget(params=1e6), {}, "params", False),
        (Budget(), {"G4": 0.1}, "G4", False),
        (Budget(latency_ms={"fake": 30}), {}, "fake_ms", True),
    ],
)
def test_the_first_broken_limit_ends_the_walk(
    budget: Budget, limits: dict[str, float], broken: str, timed: bool
) -> None:
    candidate, target, evaluator = walk(budget, limits)
    with pytest.raises(Rejected) as caught:
        candidate.assess(V2)
    assert caught.value.constraint == broken
    assert caught.value.excess == caught.value.excesses[broken] > 0
    assert bool(target.asked) == timed
    assert not evaluator.asked


def test_a_baseline_goes_the_whole_way_beyond_a_limit() -> None:
    candidate, _, _ = walk(Budget(flops=30e6, latency_ms={"fake": 30}), {"G4": 0.1})
    record = candidate.assess(V2, baseline="shufflenet_v2_x0_5")
    assert not record.feasible
    assert set(record.excesses) == set(candidate.constraints)
    assert {name for name, excess in record.excesses.items() if excess > 0} == {
        "flops",
        "fake_ms",
    }


@pytest.mark.parametrize("baseline", [None, "shufflenet_v2_x0_5"])
def test_a_guideline_that_spares_no_work_does_not_count(baseline: str | None) -> None:
    candidate, _, _ = walk(Budget(flops=50e6), {"G4": 0.1})
    record = candidate.assess(V2, baseline, unguided=baseline is None)
    assert record.feasible
    assert record.excesses["G4"] == 0


def test_without_guidelines_the_budget_still_counts() -> None:
    candidate, target, _ = walk(Budget(flops=30e6), {"G4": 0.1})
    with pytest.raises(Rejected) as caught:
        candidate.assess(V2, unguided=True)
    assert caught.value.constraint == "flops"
    assert not target.asked


def test_a_candidate_within_all_limits_is_recorded() -> None:
    stages: list[str] = []
    target, evaluator = FakeTarget(), FakeEvaluator()
    budget = Budget(flops=41e6, params=2e6, latency_ms={"fake": 41})
    record = Walk(
        Guidelines({"G4": 0.5}), budget, {"fake": target}, evaluator, stages.append
    ).assess(V2)
    assert record.feasible
    assert record.objectives[1] == pytest.approx(40.476448)
    assert stages == ["latency on fake", "training"]
    assert target.asked == evaluator.asked == [V2.digest]
