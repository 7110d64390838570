import pytest
from doubles import FakeEvaluator, FakeTarget, small_space

from nas_sv2.errors import InfeasibleError
from nas_sv2.search.walk import feasibility
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.feasibility import check_feasible
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.guidelines import Guidelines


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
        (Budget(flops=50_000), {}, r"0\.068 MFLOPs"),
        (Budget(params=100), {}, r"M params"),
        (Budget(), {"G4": 0.01}, "G4 beyond its limit"),
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
