"""Trainings of a search end where the front is out of reach, and only there."""

import dataclasses
import math
import os
import pickle
import random
import signal
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
from doubles import EventRecorder, FakeTarget, evaluation_of, latency_of, record_of, small_space
from optuna.samplers import RandomSampler
from scipy.stats import t as student
from stop_rule_replay import FullTraining, front_members, replay

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.fitting.evaluator import Stops
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.search.asking.sampler import SamplerSetting
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.session.plan import SAMPLERS, plan_search
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.early_stop import (
    FEWEST,
    MISSES,
    RISK,
    EarlyStop,
    FinalBound,
    LearningCurve,
    Rival,
    Stopping,
    StopRule,
    check_stop_rule,
    log_flops,
    make_curve,
    miss_beside,
    rule_of,
    signals_of,
)
from nas_sv2.search.walk.stored_evaluator import StoredEvaluator
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.attributes import FORESEEN
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import STOP_RULE, audit_stops
from nas_sv2.studies.package.build import export_trial
from nas_sv2.studies.storage.recipe_evidence import whole_trainings
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder


def curve(final: float, rise: float = 0.2) -> LearningCurve:
    """One that shows its score, which rises in a line."""
    return LearningCurve(((final - rise,), (final - rise / 2,), (final,)), final)


MISS = MISSES[1]
COURSES = tuple(curve(0.6 + n / 50, 0.2 + n % 2 / 50) for n in range(10))


def by_hand(
    curves: Sequence[LearningCurve], pass_number: int, signals: Sequence[float], miss: float = MISS
) -> float:
    """The upper end of an interval for a new observation, from the normal equations."""
    design = np.array([[1.0, *one.signals[pass_number - 1]] for one in curves])
    finals = np.array([one.final for one in curves])
    precision = np.linalg.inv(design.T @ design)
    line, at = precision @ design.T @ finals, np.array([1.0, *signals])
    free = len(curves) - design.shape[1]
    squares = float(np.sum((finals - design @ line) ** 2))
    spread = math.sqrt(squares / free * (1 + at @ precision @ at))
    return float(at @ line + student.ppf(1 - miss, free) * spread)


@pytest.mark.parametrize("width", [1, 2])
def test_the_bound_is_the_prediction_limit_above_the_line(width: int) -> None:
    draw = random.Random(width)
    curves = []
    for _ in range(30):
        shown = tuple(tuple(draw.random() for _ in range(width)) for _ in range(3))
        curves.append(LearningCurve(shown, sum(shown[1]) + draw.gauss(0, 0.1)))
    signals = [0.3] * width
    bound = FinalBound(tuple(curves), miss=0.1)
    assert bound.best_final(2, signals) == pytest.approx(by_hand(curves, 2, signals, 0.1))
    assert bound.expected_final(2, signals) == pytest.approx(by_hand(curves, 2, signals, 0.5))
    far = [9.0] * width
    reach = bound.best_final(2, far) - bound.expected_final(2, far)
    assert reach > 5 * (bound.best_final(2, signals) - bound.expected_final(2, signals))


@pytest.mark.parametrize("known", [8, 60])
def test_the_next_of_like_trainings_misses_about_as_often_as_said(known: int) -> None:
    draw = random.Random(3)

    def one() -> LearningCurve:
        shown = draw.random(), draw.random()
        return LearningCurve((shown, (0.0, 0.0)), 20 * shown[0] - shown[1] + draw.gauss(0, 1))

    missed, repeats = 0, 1000
    for _ in range(repeats):
        bound, new = FinalBound(tuple(one() for _ in range(known))), one()
        missed += new.final > bound.best_final(1, new.signals[0])
    deviation = (MISS * (1 - MISS) / repeats) ** 0.5
    assert abs(missed / repeats - MISS) < 4 * deviation


def test_what_a_pass_leaves_is_that_of_lines_without_each_training() -> None:
    draw = random.Random(8)
    shown = [draw.random() for _ in range(20)]
    curves = tuple(LearningCurve(((x,), (0.5,)), x + draw.gauss(0, 0.3)) for x in shown)
    finals = [one.final for one in curves]
    beside_line, beside_mean = 0.0, 0.0
    for n, one in enumerate(curves):
        xs, ys = shown[:n] + shown[n + 1 :], finals[:n] + finals[n + 1 :]
        slope, constant = np.polyfit(xs, ys, 1)
        beside_line += float(one.final - slope * shown[n] - constant) ** 2
        beside_mean += (one.final - statistics.fmean(ys)) ** 2
    assert FinalBound(curves).unexplained(1) == pytest.approx(beside_line / beside_mean)


def test_too_few_courses_stop_nothing_and_say_why() -> None:
    bound = FinalBound(COURSES[: FEWEST - 1])
    assert bound.why_not == f"{FEWEST - 1} finished trainings; {FEWEST} are needed"
    assert FinalBound(()).passes == 0
    assert StopRule(bound, (Rival(1.0, (1.0,)),)).verdict(2, (0.0,), (9.0,)) is None
    with pytest.raises(ConfigError, match=f"at least {FEWEST}"):
        bound.best_final(1, (0.5,))


def test_what_the_known_do_not_determine_is_bounded_by_nothing() -> None:
    alike = tuple(LearningCurve(((0.5,), (0.5,)), 0.6 + n / 100) for n in range(12))
    assert FinalBound(alike).best_final(1, (0.6,)) == math.inf
    assert FinalBound(alike).best_final(1, (0.5,)) < 1.0  # the mean of the others, and above it
    one_apart = (*alike, LearningCurve(((0.9,), (0.5,)), 0.9))
    assert FinalBound(one_apart).unexplained(1) == math.inf
    few = tuple(LearningCurve(((float(n), n**2), (0.5, 0.5)), n / 10) for n in range(3))
    assert FinalBound(few, fewest=3).best_final(1, (1.0, 1.0)) == math.inf


REACH = by_hand(COURSES, 2, (0.6,))


@pytest.mark.parametrize(
    ("rivals", "stops"),
    [
        ([], False),
        ([(0.90, (1.0, 1.0))], True),
        ([(0.90, (2.0, 2.0))], True),  # as fast is enough
        ([(0.90, (2.1, 1.0))], False),  # slower on one target
        ([(0.90, (2.1, 2.1)), (0.60, (1.0, 1.0))], False),  # the good one is slower
        ([(REACH - 1e-6, (1.0, 1.0))], False),  # within reach
        ([(REACH + 1e-6, (1.0, 1.0)), (0.5, (0.5, 0.5))], True),
    ],
)
def test_only_rivals_that_are_as_fast_everywhere_stop_a_training(
    rivals: list[tuple[float, tuple[float, float]]], stops: bool
) -> None:
    rule = StopRule(FinalBound(COURSES), tuple(Rival(*rival) for rival in rivals))
    verdict = rule.verdict(2, (0.6,), (2.0, 2.0))
    assert (verdict is not None) == stops
    if verdict is not None:
        assert verdict.reason.startswith(f"after pass 2 of 3 it can come to {REACH:.4f} at most")
        assert verdict.foreseen == pytest.approx(by_hand(COURSES, 2, (0.6,), 0.5))


def test_a_training_at_its_end_is_not_stopped() -> None:
    rule = StopRule(FinalBound(COURSES), (Rival(0.9, (1.0,)),))
    assert rule.verdict(2, (0.1,), (1.0,)) is not None
    assert rule.verdict(3, (0.1,), (1.0,)) is None


@pytest.mark.parametrize(
    ("stopped", "miss"),
    [(0, MISSES[1]), (3, 2 * RISK / 4), (10_000, MISSES[0])],
)
def test_a_long_search_allows_each_bound_fewer_misses(stopped: int, miss: float) -> None:
    beaten, slow, fast = Rival(0.7, (2.0,)), Rival(0.9, (2.0,)), Rival(0.8, (1.0,))
    assert miss_beside([slow, fast], 3) == pytest.approx(miss_beside([slow, beaten, fast], 3))
    assert miss_beside([slow, beaten, fast], stopped) == pytest.approx(miss)


def test_targets_must_be_the_same() -> None:
    rule = StopRule(FinalBound(COURSES), (Rival(0.9, (1.0,)),))
    with pytest.raises(ValueError, match="zip"):
        rule.verdict(2, (0.1,), (1.0, 1.0))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LearningCurve(((0.5,),), 0.5), "signals"),
        (lambda: LearningCurve(((0.5,), (0.5, 0.6)), 0.5), "signals"),
        (lambda: LearningCurve(((), ()), 0.5), "signals"),
        (lambda: LearningCurve(((0.5,), (math.nan,)), 0.5), "signals"),
        (lambda: LearningCurve(((0.5,), (0.5,)), math.inf), "final"),
        (lambda: FinalBound((curve(0.5), LearningCurve(((0.1,), (0.2,)), 0.5))), "curves"),
        (lambda: FinalBound(COURSES, miss=0.0), "miss"),
        (lambda: FinalBound(COURSES, fewest=2), "fewest"),
        (lambda: FinalBound(COURSES).best_final(3, (0.5,)), "pass"),
        (lambda: FinalBound(COURSES).best_final(0, (0.5,)), "pass"),
        (lambda: FinalBound(COURSES).best_final(1, (0.5, 0.5)), "signals"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make()
    assert raised.value.field == field


def full(name: str, final: float, ms: float, rise: float = 0.2) -> FullTraining:
    return FullTraining(name, curve(final, rise), (ms,), seconds=30.0)


FIRST = [full(f"first {n}", 0.75 + n / 200, 20.0 - n, 0.2 + n % 2 / 100) for n in range(10)]
"""The last is the best and the fastest: 0.795 in 11 ms."""
LATE = full("late", 0.85, 12.0, rise=0.5)  # gains more than any before


def test_a_replay_counts_what_is_saved_and_lost() -> None:
    trainings = [*FIRST, full("poor", 0.60, 12.0), LATE, full("fast", 0.60, 1.0)]
    result = replay(trainings, Audit(share=0.0))
    assert (result.trained, result.stopped, result.audited) == (13, 2, 0)
    assert front_members(trainings) == {"first 9", "late", "fast"}
    assert (result.front, result.lost) == (3, 1)
    assert result.lost_share == pytest.approx(1 / 3)
    assert list(result.lost_by) == pytest.approx([0.85 - 0.795])
    assert [result.lost_beyond(noise) for noise in (0.05, 0.06)] == [1, 0]
    assert result.seconds_saved == pytest.approx(2 * 20.0)
    assert result.saved == pytest.approx(40 / 390)
    assert result.saved_once_calibrated == pytest.approx(40 / (390 - 30 * FEWEST))


def test_a_replay_lets_the_audited_run_on_and_learns_from_them() -> None:
    second = full("second", 0.70, 11.5)
    assert replay([*FIRST, second], Audit(share=1.0)).audited == 1
    result = replay([*FIRST, LATE, second], Audit(share=1.0))  # gains as large are known now
    assert (result.stopped, result.audited, result.audited_on_front) == (0, 1, 1)
    assert (result.lost, result.saved) == (0, 0.0)


def test_nothing_is_saved_before_there_are_courses_enough() -> None:
    trainings = [*FIRST[: FEWEST - 1], full("poor", 0.1, 99.0)]
    result = replay(trainings, Audit(share=0.0))
    assert result.stopped == 0
    assert result.saved_once_calibrated is None


def test_earlier_trainings_calibrate_and_are_nobodys_rivals() -> None:
    earlier = [one.curve for one in FIRST]
    poor = full("poor", 0.1, 99.0)
    assert replay([poor], Audit(share=0.0), earlier=earlier).stopped == 0
    result = replay([full("good", 0.79, 11.0), poor], Audit(share=0.0), earlier=earlier)
    assert (result.stopped, result.seconds_before) == (1, 0.0)


V2 = reference("shufflenet_v2_x0_5")
PASSES = 4


def epochs_to(accuracy: float, digest: str) -> list[Epoch]:
    """Training losses that foretell `accuracy`, off by what depends on the network."""
    wobble = int(digest[:4], 16) / 0xFFFF / 500
    losses = [2 - accuracy + 0.2 * (PASSES - n) + wobble for n in range(1, PASSES + 1)]
    return [Epoch(loss, 0.1) for loss in losses]


@dataclass
class Learner:
    """Trains in no time and asks after each pass but the last; `accuracy_of` says what comes."""

    name: ClassVar[str] = "learner"

    accuracies: dict[str, float] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)

    def evaluate(self, architecture: Architecture, stops: Stops | None = None) -> Evaluation:
        digest = architecture.digest
        params = cost_of(lower(architecture)).params
        # Some are as good as their size lets hope, others much worse.
        fallback = params / (params + 10_000) * (1.0 if int(digest[-1], 16) % 2 else 0.3)
        accuracy = self.accuracies.get(digest, fallback)
        epochs = epochs_to(accuracy, digest)
        reason = None
        for done in range(1, PASSES):
            reason = stops(epochs[:done]) if stops else None
            if reason is not None:
                epochs, accuracy = epochs[:done], accuracy / 2
                break
        self.passes[digest] = len(epochs)
        return dataclasses.replace(
            evaluation_of(accuracy),
            history=tuple(epochs),
            epochs=len(epochs),
            seconds=float(len(epochs)),
            stopped=reason,
        )


def known(count: int = FEWEST, ms: float = 1.0) -> list[Record]:
    records = []
    for n in range(count):
        record = record_of(0.7 + n / 100, ms)
        history = tuple(epochs_to(record.evaluation.accuracy, f"{n * 40503 % 0x10000:04x}"))
        evaluation = dataclasses.replace(record.evaluation, history=history, epochs=PASSES)
        records.append(dataclasses.replace(record, evaluation=evaluation))
    return records


def walk_of(learner: Learner, records: Sequence[Record], share: float = 0.0) -> Walk:
    early = EarlyStop(learner, lambda: records, Audit(share))
    return Walk(Guidelines({}), Budget(), {"fake": FakeTarget()}, learner, early=early)


@pytest.mark.parametrize(
    ("accuracy", "records", "passes", "feasible"),
    [
        (0.50, known(), 1, False),
        (0.7895, known(), 4, True),  # may come up to the best, 0.79
        (0.50, known(ms=99.0), 4, True),  # the others are slower: 40 ms
        (0.50, known(FEWEST - 1), 4, True),
    ],
)
def test_a_training_ends_where_the_front_is_out_of_reach(
    accuracy: float, records: list[Record], passes: int, feasible: bool
) -> None:
    learner = Learner({V2.digest: accuracy})
    record = walk_of(learner, records).assess(V2)
    assert learner.passes[V2.digest] == record.evaluation.epochs == passes
    assert record.feasible == feasible
    assert (STOP_RULE in record.excesses) == (not feasible)


def test_a_baseline_runs_to_its_end() -> None:
    learner = Learner({V2.digest: 0.5})
    record = walk_of(learner, known()).assess(V2, baseline="shufflenet_v2_x0_5")
    assert record.evaluation.epochs == PASSES
    assert record.feasible


def test_what_is_audited_runs_to_its_end_and_is_marked() -> None:
    learner = Learner({V2.digest: 0.5})
    record = walk_of(learner, known(), share=1.0).assess(V2)
    assert record.evaluation.epochs == PASSES
    assert record.feasible
    assert record.excesses[STOP_RULE] == 0.0


def test_a_candidate_that_the_database_knows_does_not_foretell_itself() -> None:
    candidate = reference("shufflenet_v2_x1_0")
    learner, others = Learner({candidate.digest: 0.5}), known()
    size = log_flops(V2)  # all alike: it is not what this is about
    early = EarlyStop(learner, lambda: others, Audit(0.0), lambda architecture: size)
    own = make_curve(learner.evaluate(candidate), size)
    knowing = dataclasses.replace(early, earlier={candidate.digest: own})
    assert early.evaluate(candidate, [40.0]).foreseen is not None
    assert knowing.evaluate(candidate, [40.0]) == early.evaluate(candidate, [40.0])


def test_neither_stopped_nor_infeasible_records_stand_for_others() -> None:
    *records, one, other = known(12)
    stopped = dataclasses.replace(
        one,
        evaluation=dataclasses.replace(one.evaluation, stopped="why", history=()),
        excesses={STOP_RULE: 1.0},
    )
    slow = dataclasses.replace(other, excesses={"fake_ms": 0.1})
    rule = rule_of([*records, stopped, slow])
    assert len(rule.bound.curves) == 11  # one beyond a limit was trained to its end all the same
    assert [rival.score for rival in rule.rivals] == [r.evaluation.score for r in records]


def test_a_predicted_rival_counts_as_slow_as_it_may_be() -> None:
    record = known(1)[0]
    guess = dataclasses.replace(latency_of(1.0), provenance="predicted", ci_ms=(0.5, 1.5))
    rule = rule_of([dataclasses.replace(record, latencies={"fake": guess})])
    assert rule.rivals[0].latencies_ms == (1.5,)


class Bench:
    """A search with the rule on, on a database of its own."""

    def __init__(self, folder: Path, learner: Learner, sampler: str = "random") -> None:
        folder.mkdir(exist_ok=True)
        self.url = f"sqlite:///{folder / 's.db'}"
        self.db = Database.open(self.url)
        self.db.migrate()
        self.store, self.learner = RecordStore(self.db, "s"), learner
        self.choice = SAMPLERS[sampler]

    def run(self, trials: int) -> optuna.Study:
        early = EarlyStop(self.learner, lambda: self.store.all().values(), Audit(0.2, "salt"))
        targets = {"fake": FakeTarget()}
        walk = Walk(Guidelines({}), Budget(), targets, self.learner, early=early)
        search = SamplerSetting(small_space(), walk, Guidelines({}), Audit(0.0))
        sampler = self.choice.make(1 + len(self.store.all()), search)
        study = create_or_resume(
            Database.open(self.url), "s", {"targets": {"fake": "measured"}}, sampler
        )
        weights, learns = (
            WeightsFolder.of_study(Database.open(self.url), "s"),
            self.choice.learns_from_pruned,
        )
        Loop(study, small_space(), walk, self.store, weights, learns, EventRecorder()).run(trials)
        return study

    def records(self) -> dict[int, Record]:
        return self.store.all()


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_search_saves_time_and_keeps_its_front(tmp_path: Path, sampler: str) -> None:
    bench = Bench(tmp_path, Learner(), sampler)
    study = bench.run(24)
    records = bench.records()
    bench.db.close()
    assert len(records) == 24  # a stopped training is a finished trial
    found = audit_stops(records)
    assert found is not None and found.stopped > 0 and found.saved > 0
    assert found.entered == 0
    full = Learner()
    ended = {
        n: dataclasses.replace(r, evaluation=full.evaluate(r.architecture), excesses={})
        for n, r in records.items()
    }
    assert [e.number for e in Front(records).entries] == [e.number for e in Front(ended).entries]
    for number, record in records.items():
        trial = study.trials[number]
        assert trial.values == list(record.sampler_objectives)
        assert trial.user_attrs.get(FORESEEN) == record.foreseen
        stopped = record.excesses.get(STOP_RULE, 0.0) > 0
        assert (record.foreseen is not None) == stopped
        if record.foreseen is not None:
            assert record.foreseen == pytest.approx(ended[number].evaluation.score, abs=0.05)
            assert record.evaluation.score < record.foreseen


def test_where_losses_are_the_score_their_mean_so_far_foretells_it() -> None:
    early, late = Epoch(0.9, 0.1), Epoch(0.3, 0.1)
    assert signals_of([early, late], 7.0, "accuracy") == (0.3, 7.0)
    assert signals_of([early, late], 7.0, "training_speed") == pytest.approx((0.6, 7.0))
    by_losses = dataclasses.replace(
        evaluation_of(0.9), scored_by="training_speed", scores=(-0.6,), history=(early, late)
    )
    curve = make_curve(by_losses, 7.0)
    assert curve.signals[-1] == pytest.approx((-curve.final, 7.0))
    stopping = Stopping(rule_of(known()), 7.0, (40.0,), audited=False, score="training_speed")
    assert stopping([early, late]) == stopping([late, early])
    assert dataclasses.replace(stopping, score="accuracy")([early, late]) is None


@dataclass
class Doomed(Learner):
    """Dies in the middle of the training of that number, as by `kill -9`."""

    dies_at: int = 0

    def evaluate(self, architecture: Architecture, stops: Stops | None = None) -> Evaluation:
        if len(self.passes) == self.dies_at and stops:
            stops(epochs_to(0.9, architecture.digest)[:1])
            os.kill(os.getpid(), signal.SIGKILL)
        return Learner.evaluate(self, architecture, stops)


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole", Learner())
    whole.run(18)
    expected = list(whole.records().values())
    whole.db.close()
    second = [n for n, r in enumerate(expected) if r.excesses.get(STOP_RULE, 0.0) > 0][1]
    child = os.fork()
    if child == 0:
        Bench(tmp_path / "killed", Doomed(dies_at=second)).run(18)
        os._exit(0)  # not come to
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    killed = Bench(tmp_path / "killed", Learner())
    assert len(killed.records()) == second
    study = killed.run(18)
    records = killed.records()
    killed.db.close()
    assert list(records.values())[: second + 1] == expected[: second + 1]
    assert expected[second].foreseen is not None  # asked again, and stopped for the same reason
    assert len(records) == 18 and len(study.trials) >= 19
    found = audit_stops(records)
    assert found is not None and found.stopped >= 2


def test_trainings_of_earlier_studies_calibrate_from_the_first_candidate(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Learner())
    bench.run(12)
    ended = [r for r in bench.records().values() if r.evaluation.stopped is None]
    recipe, data, seed = "0" * 16, "none@0", 0
    known = whole_trainings(bench.db, recipe, data, seed)
    assert known == {r.architecture.digest: (r.architecture, r.evaluation) for r in ended}
    assert whole_trainings(bench.db, recipe, "npz:/moved.npz@0", seed) == known
    assert whole_trainings(bench.db, recipe, "none@1", seed) == {}
    assert whole_trainings(bench.db, recipe, data, seed=1) == {}
    assert whole_trainings(bench.db, "1" * 16, data, seed) == {}
    bench.db.close()
    earlier = {d: make_curve(e, log_flops(a)) for d, (a, e) in known.items()}
    rule = rule_of([], earlier=earlier)
    assert rule.bound.why_not is None
    assert rule.rivals == ()  # a candidate need not stand beside what another study found
    first = ended[0]
    assert rule_of([first], earlier=earlier).bound.curves[-1] == earlier[first.architecture.digest]
    assert len(rule_of([first], earlier=earlier).bound.curves) == len(earlier)


def test_size_is_that_of_the_form_that_is_trained(tmp_path: Path, blobs: ImageData) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    db.migrate()
    training = ProxyTraining(Recipe("four", PASSES, stem_stride=1), blobs, seed=3, threads=1)
    record = known(1)[0]
    evaluation = dataclasses.replace(
        record.evaluation,
        recipe_digest=training.recipe.digest,
        data=blobs.provenance,
        seed=3,
        device="another",
    )
    RecordStore(db, "earlier").save(0, dataclasses.replace(record, evaluation=evaluation))
    store = RecordStore(db, "s")
    evaluator = StoredEvaluator(training, store, WeightsFolder.of_study(db, "s"))
    early = EarlyStop.of(evaluator, store)
    db.close()
    size = log_flops(training.adapt(V2))
    assert early.earlier == {V2.digest: make_curve(evaluation, size)}
    assert early.size(V2) == size < log_flops(V2)  # 224 × 224 in the space, blobs are small


def test_a_recipe_of_one_pass_is_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        check_stop_rule(True, Recipe("one", 1))
    assert raised.value.field == "stop_rule"


def test_a_request_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with pytest.raises(ConfigError, match="stop_rule"):
        plan_search("arm", ["140M"], recipe="smoke", storage=url, stop_rule=True)
    assert not (tmp_path / "s.db").exists()


def test_a_network_whose_training_was_ended_is_not_exported(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    db = Database.open(url)
    db.migrate()
    study = create_or_resume(
        Database.open(url), "s", {"targets": {"t0": "measured"}}, RandomSampler(seed=1)
    )
    record = dataclasses.replace(record_of(0.5, 1.0), excesses={STOP_RULE: 1.0})
    RecordStore(db, study_key(study)).save(0, record)
    db.close()
    with pytest.raises(ConfigError, match="the stop rule ended this one"):
        export_trial(
            Database.open(url), "s", "0", tmp_path / "out", force=False, notify=lambda line: None
        )


def test_what_the_rule_said_follows_from_the_passes_wherever_they_were_made() -> None:
    """A training that is killed and gone on with, or made on another machine, keeps its mark."""
    rule = rule_of(known())
    size = log_flops(V2)
    poor = evaluation_of(0.3)
    whole = dataclasses.replace(poor, history=tuple(epochs_to(0.3, V2.digest)), epochs=PASSES)
    audited = pickle.loads(pickle.dumps(Stopping(rule, size, (40.0,), audited=True)))
    assert [audited(whole.history[:n]) for n in range(1, PASSES)] == [None] * (PASSES - 1)
    ending = audited.first(whole)
    signals = signals_of(whole.history[:1], size, whole.scored_by)
    assert ending == rule.verdict(1, signals, (40.0,)) is not None
    stopping = dataclasses.replace(audited, audited=False)
    assert stopping(whole.history[:1]) == ending.reason
    only_the_last = dataclasses.replace(whole, history=whole.history[:1], epochs=1)
    assert stopping.first(only_the_last) is None  # nobody is asked after the last pass
    ended = dataclasses.replace(only_the_last, stopped=ending.reason)
    assert stopping.first(ended) == ending
