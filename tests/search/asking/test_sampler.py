"""The sampler on Optuna studies: it finds the front early, resumes, and keeps the limits."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import optuna
import pytest
from doubles import FakeEvaluator
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.targets.user_target import UserTarget
from nas_sv2.search.asking import sampler as module
from nas_sv2.search.asking.sampler import EhviSampler, SamplerSetting
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.search_space import SearchSpace, space_from_document
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import Guidelines, g4_elementwise
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.units.architecture import Architecture

SPACE: SearchSpace = space_from_document(
    {
        "nas_sv2_space": 1,
        "resolution": 16,
        "classes": 4,
        "stem": [4, 8],
        "head": {"low": 16, "high": 64, "step": 16},
        "stem_pool": False,
        "stages": [
            {
                "depth": {"low": 1, "high": 3},
                "width": {"low": 16, "high": 64, "step": 4},
                "split": ["1/4", "1/2", "3/4"],
                "kernel": [3, 5],
                "se": [False, True],
                "residual": [False, True],
            }
        ],
    },
    "small",
)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWN", 40)
    monkeypatch.setattr(module, "PRICED", 12)
    monkeypatch.setattr(module, "NEARBY", 8)


@dataclass(frozen=True)
class Counted:
    """Times networks by their FLOPs."""

    name: str = "counted"
    provenance: Provenance = "emulated"
    power: float = 1.0
    asked: list[str] = field(default_factory=list)

    def estimate(self, network: Network) -> Latency:
        self.asked.append(network.digest)
        ms = (cost_of(lower(network)).flops / 1e6) ** self.power
        return Latency(ms, None, None, self.provenance, self.name, None, None, "")


def accuracy(architecture: Architecture) -> float:
    """The larger the better; with kernel 5 and SE by far."""
    stage = architecture.stages[0]
    size = 0.02 * math.log(cost_of(lower(architecture)).flops)
    return size + 0.1 * (stage.kernel == 5) + 0.1 * stage.se


def setting(
    *targets: Counted, budget: Budget | None = None, guidelines: Guidelines | None = None
) -> SamplerSetting:
    limits = guidelines or Guidelines({})
    every = {one.name: UserTarget(one) for one in targets or (Counted(),)}
    walk = Walk(limits, budget or Budget(), every, FakeEvaluator())
    return SamplerSetting(SPACE, walk, limits, Audit(0.0))


def study_by(sampler: BaseSampler, targets: int = 1) -> optuna.Study:
    directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * targets
    return optuna.create_study(directions=directions, sampler=sampler)


def search(
    study: optuna.Study,
    count: int,
    targets: tuple[Counted, ...] = (Counted(),),
    score: Callable[[Architecture], float] = accuracy,
) -> list[Architecture]:
    asked = []
    for _ in range(count):
        trial = study.ask()
        asked.append(SPACE.sample(trial))
        times = [one.estimate(asked[-1]).ms for one in targets]
        study.tell(trial, [score(asked[-1]), *times])
    return asked


def digests(asked: list[Architecture]) -> list[str]:
    return [one.digest for one in asked]


def best_choices(asked: list[Architecture]) -> int:
    return sum(one.stages[0].kernel == 5 and one.stages[0].se for one in asked)


def test_it_finds_the_best_choices_earlier_than_random() -> None:
    ours = search(study_by(EhviSampler(0, setting())), 16)
    drawn = search(study_by(RandomSampler(seed=0)), 16)
    assert len(set(digests(ours))) == 16
    assert best_choices(ours[8:]) >= 6 >= 2 * best_choices(drawn[8:])


def test_a_resumed_study_asks_for_the_same_networks() -> None:
    through = search(study_by(EhviSampler(3, setting())), 12)
    broken = study_by(EhviSampler(3, setting()))
    first = search(broken, 9)
    killed = broken.ask()  # its process ends here, and the next asks it again
    lost = SPACE.sample(killed)
    broken.enqueue_trial(killed.params)
    broken.tell(killed, state=TrialState.FAIL)
    broken.sampler = EhviSampler(3, setting())
    rest = search(broken, 3)
    assert rest[0] == lost
    assert digests(first + rest) == digests(through)


def test_a_queued_network_that_was_killed_changes_no_answer() -> None:
    """It is asked again after the others of the queue."""
    queued = [SPACE.params_of(one) for one in search(study_by(RandomSampler(seed=5)), 10)]
    found = []
    for killed in (False, True):
        study = study_by(EhviSampler(3, setting()))
        for params in queued:
            study.enqueue_trial(params)
        if killed:
            study.tell(study.ask(), state=TrialState.FAIL)
            study.enqueue_trial(queued[0], user_attrs={"retry_of": 0})
        found.append(digests(search(study, 12)))
    through, resumed = found
    assert resumed[:10] == [*through[1:10], through[0]]
    assert resumed[10:] == through[10:]


@pytest.mark.parametrize("trained", [0, 10])
def test_workers_at_the_same_time_ask_for_different_networks(trained: int) -> None:
    study = study_by(EhviSampler(0, setting()))
    known = search(study, trained)
    queued = SPACE.params_of(search(study_by(RandomSampler(seed=5)), 1)[0])
    at_once = [SPACE.sample(study.ask()) for _ in range(5)]
    study.enqueue_trial(queued)
    at_once += [SPACE.sample(study.ask()) for _ in range(2)]
    assert len(set(digests(known + at_once))) == trained + 7


def test_limits_on_cost_latency_and_guidelines_are_kept() -> None:
    budget, limits = Budget(flops=0.5e6, latency_ms={"counted": 0.4}), Guidelines({"G4": 0.5})
    study = study_by(EhviSampler(0, setting(budget=budget, guidelines=limits)))
    asked = search(study, 10)
    assert all(g4_elementwise(lower(one)) <= 0.5 for one in asked)
    assert all(Counted().estimate(one).ms <= 0.4 for one in asked)


def test_a_rejected_network_is_not_asked_again() -> None:
    study = study_by(EhviSampler(0, setting()))
    search(study, 9)
    rejected = study.ask()
    first = SPACE.sample(rejected)
    study.tell(rejected, state=TrialState.PRUNED)
    assert SPACE.sample(study.ask()) != first


def test_a_measured_target_is_never_asked_for_more() -> None:
    target = Counted(provenance="measured")
    study = study_by(EhviSampler(0, setting(target)))
    asked = search(study, 10, (target,))
    assert target.asked == digests(asked)


def test_two_targets_make_a_front_of_three_objectives() -> None:
    targets = Counted(), Counted("root", power=0.5)
    study = study_by(EhviSampler(0, setting(*targets)), 2)
    assert best_choices(search(study, 16, targets)[8:]) >= 4  # at random it is one in four


def test_a_space_without_a_network_within_the_limits_is_drawn_from_at_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DRAWN", 2)
    study = study_by(EhviSampler(0, setting(budget=Budget(flops=1.0))))
    assert len(set(digests([SPACE.sample(study.ask()) for _ in range(3)]))) == 3


@pytest.mark.parametrize("flops", [1.0, 0.5e6])
def test_a_search_goes_on_though_no_network_of_the_space_was_drawn_within_the_limits(
    flops: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAWN", 2 if flops == 1.0 else 0)
    study = study_by(EhviSampler(0, setting(budget=Budget(flops=flops))))
    assert len(set(digests(search(study, 12)))) == 12


@dataclass(frozen=True)
class Vague(Counted):
    """Tells no least latency."""

    def estimate(self, network: Network) -> Latency:
        known = Counted.estimate(self, network)
        return replace(known, ci_ms=(0.0, 2 * known.ms))


def test_an_interval_of_the_users_target_may_begin_at_nothing() -> None:
    target = Vague()
    study = study_by(EhviSampler(0, setting(target)))
    assert len(set(digests(search(study, 10, (target,))))) == 10


def median_flops(asked: list[Architecture]) -> float:
    return statistics.median(cost_of(lower(one)).flops for one in asked[8:])


def liking_small(architecture: Architecture) -> float:
    """What a short training is like: a small network learns faster."""
    return accuracy(architecture) - 0.04 * math.log(cost_of(lower(architecture)).flops)


def test_short_trainings_that_like_small_networks_do_not_keep_a_search_from_large_ones() -> None:
    by_score, by_estimate = (
        search(study_by(EhviSampler(0, replace(setting(), fused=fused))), 24, score=liking_small)
        for fused in (False, True)
    )
    assert median_flops(by_estimate) > 1.2 * median_flops(by_score)
