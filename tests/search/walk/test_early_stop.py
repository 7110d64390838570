"""Trainings of a search end where they promise little growth of the front, and only there."""

import dataclasses
import math
import os
import pickle
import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
from doubles import EventRecorder, FakeTarget, evaluation_of, latency_of, record_of, small_space
from optuna.samplers import RandomSampler
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.fitting.evaluator import Stops
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.search.asking.sampler import SamplerSetting
from nas_sv2.search.asking.samplers import SAMPLERS
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.early_stop import (
    FEWEST,
    GIVEN_UP,
    EarlyStop,
    FinalModel,
    LearningCurve,
    Rival,
    Signals,
    Stopping,
    StopRule,
    check_stop_rule,
    known_of,
    log_flops,
    make_curve,
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
from nas_sv2.studies.findings.record import STOP_RULE, Record
from nas_sv2.studies.findings.stop_audit import audit_stops
from nas_sv2.studies.package.build import export_trial
from nas_sv2.studies.storage.recipe_evidence import whole_trainings
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

SIZE = 12.0
PASSES = 4


def curve(final: float, size: float = SIZE, noise: float = 0.0) -> LearningCurve:
    """One whose loss falls in a line, and shows its score."""
    losses = [2 - final + 0.2 * (PASSES - n) + noise for n in range(1, PASSES + 1)]
    return LearningCurve(tuple((-loss, size) for loss in losses), final)


COURSES = tuple(curve(0.6 + n / 50, noise=n % 3 / 200) for n in range(10))
RIVALS = tuple(Rival(0.6 + n / 50, (10.0 + n, 20.0 + n)) for n in range(10))


def test_few_finished_trainings_foretell_by_the_prior_and_many_by_themselves() -> None:
    """The loss leads to the score; with three trainings the slope is drawn to the prior's."""
    draw = random.Random(1)

    def one() -> LearningCurve:
        loss, size = draw.gauss(2, 0.3), draw.gauss(12, 0.5)
        return LearningCurve(((-loss, size),), -loss + 0.1 * size + draw.gauss(0, 0.05))

    many = tuple(one() for _ in range(200))
    asked: Signals = (-1.5, 12.5)
    mean, deviation = FinalModel(many, "cross_entropy").at(1, asked)
    assert mean == pytest.approx(-1.5 + 1.25, abs=0.02)
    assert 0.03 < deviation < 0.08
    few_mean, few_deviation = FinalModel(many[:3], "cross_entropy").at(1, asked)
    assert few_deviation > 1.5 * deviation
    assert few_mean > float(np.mean([each.final for each in many[:3] if each.final is not None]))


@pytest.mark.parametrize("known", [3, 12])
def test_the_intervals_of_like_trainings_hold_about_as_often_as_said(known: int) -> None:
    draw, held, repeats = random.Random(3), 0, 400

    def one() -> LearningCurve:
        loss, size = draw.gauss(2, 0.3), draw.gauss(12, 0.5)
        return LearningCurve(((-loss, size),), -loss / 2 + 0.06 * size + draw.gauss(0, 0.09))

    for _ in range(repeats):
        new = one()
        mean, deviation = FinalModel(tuple(one() for _ in range(known)), "cross_entropy").at(
            1, new.signals[0]
        )
        held += abs((new.final or 0.0) - mean) < 1.645 * deviation
    assert 0.85 < held / repeats < 0.95, held / repeats


def test_stopped_trainings_show_how_signals_vary_and_no_score() -> None:
    stopped = LearningCurve(((-9.0, SIZE),), None)
    model = FinalModel((*COURSES, stopped))
    assert list(model.finals) == [one.final for one in COURSES]
    assert model.at(1, COURSES[0].signals[0]) != FinalModel(COURSES).at(1, COURSES[0].signals[0])
    assert model.at(2, COURSES[0].signals[1]) == FinalModel(COURSES).at(2, COURSES[0].signals[1])


def rule(
    curves: Sequence[LearningCurve] = COURSES, rivals: Sequence[Rival] = RIVALS, count: int = 24
) -> StopRule:
    return StopRule(FinalModel(tuple(curves)), tuple(rivals), count, PASSES)


def test_the_growth_is_that_of_many_draws() -> None:
    """By hand: the area in log ms that a normal score adds to the front, with one target."""
    rivals = [Rival(0.70, (10.0,)), Rival(0.80, (20.0,)), Rival(0.65, (15.0,))]
    found = rule(COURSES, rivals).growth(0.75, 0.05, (12.0,))
    ten, twelve, fifteen, twenty = np.log([10.0, 12.0, 15.0, 20.0])
    credit = np.std([0.7, 0.8, 0.65]) / np.std([ten, twenty, fifteen])
    draws = np.random.default_rng(0).normal(0.75, 0.05, 200_000) + credit * twelve
    fast, slow, dominated = 0.70 + credit * ten, 0.80 + credit * twenty, 0.65 + credit * fifteen
    far = twenty + 0.1 * np.log(2.0)
    known = [fast, slow, dominated, 0.75 + credit * twelve]
    floor = min(known) - 0.1 * (max(known) - min(known))
    assert fast < dominated < slow  # slow networks have credit, so that it is on the front
    present = (far - ten) * (fast - floor) + (far - fifteen) * (dominated - fast)
    present += (far - twenty) * (slow - dominated)
    gained = (fifteen - twelve) * np.maximum(draws - fast, 0)
    gained += (twenty - fifteen) * np.maximum(draws - dominated, 0)
    gained += (far - twenty) * np.maximum(draws - slow, 0)
    assert found == pytest.approx(float(gained.mean()) / present, rel=0.01)


@pytest.mark.parametrize(
    ("score", "latencies_ms", "stops"),
    [
        (0.50, (12.0, 22.0), True),  # much worse than those that are as fast
        (0.50, (9.0, 19.0), False),  # the worst by far, and the fastest
        (0.85, (12.0, 22.0), False),  # better than all
        (0.63, (10.0, 20.0), False),  # better than what is as fast
        (0.70, (19.0, 9.0), False),  # the fastest on one target
        (1.0, (25.0, 35.0), False),  # the slowest, and the best by far
        (0.70, (19.0, 29.0), True),  # the slowest on both
    ],
)
def test_a_training_is_ended_for_what_it_adds_to_the_front(
    score: float, latencies_ms: tuple[float, float], stops: bool
) -> None:
    signals = curve(score).signals[1]
    verdict = rule().verdict(2, signals, latencies_ms)
    foreseen, deviation = rule().model.at(2, signals)
    grows = rule().growth(foreseen, deviation, latencies_ms)
    assert (grows < GIVEN_UP / 24) == stops == (verdict is not None)
    if verdict is not None:
        assert verdict.foreseen == foreseen
        assert verdict.reason == (
            f"after pass 2 of 4 it is expected to let the front grow by {grows:.2%} of its "
            "hypervolume; 0.62% is the least"
        )


def test_a_slow_network_has_credit_for_its_latency() -> None:
    """A longer training gains most from size: fast rivals of equal score do not beat slow ones."""
    rivals = [Rival(0.6 + n / 50, (10.0 + n,)) for n in range(10)]
    log_ms, scores = np.log(10.0 + np.arange(10)), 0.6 + np.arange(10) / 50
    credit = scores.std() / max(log_ms.std(), 0.2)
    best = rivals[-1].score
    found = [rule(COURSES, rivals).growth(best - 0.01, 1e-6, (ms,)) for ms in (19.01, 25.0)]
    assert found[0] == 0 < found[1]
    longer = scores + credit * log_ms
    own = best - 0.01 + credit * np.log(25.0)
    far = np.log(25.0) + 0.1 * np.log(2.5)
    floor = longer[0] - 0.1 * (own - longer[0])
    heights = np.diff([floor, *longer])
    present = sum((far - log_ms) * heights)
    assert found[1] == pytest.approx((far - np.log(25.0)) * (own - longer[-1]) / present, rel=1e-6)


def test_a_long_search_gives_up_less_by_each() -> None:
    signals, ms = curve(0.73).signals[1], (17.0, 27.0)
    ended = [rule(count=count).verdict(2, signals, ms) is not None for count in (1, 10_000)]
    assert ended == [True, False]


def test_nothing_ends_before_enough_are_finished_or_at_its_end_or_without_a_front() -> None:
    poor, ms = curve(0.3).signals, (19.0, 29.0)
    assert rule().verdict(2, poor[1], ms) is not None
    assert rule().verdict(4, poor[3], ms) is None
    assert rule(COURSES[: FEWEST - 1]).verdict(2, poor[1], ms) is None
    assert rule(rivals=()).verdict(2, poor[1], ms) is None
    one_point = rule(COURSES, [Rival(0.6, (10.0, 20.0))])
    # The worst score of all is the corner, so that the front has no hypervolume to compare with.
    assert one_point.growth(0.7, 0.01, (10.0, 20.0)) == math.inf


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LearningCurve((), 0.5), "signals"),
        (lambda: LearningCurve(((0.5, math.nan),), 0.5), "signals"),
        (lambda: LearningCurve(((0.5, 0.5),), math.inf), "final"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make()
    assert raised.value.field == field


V2 = reference("shufflenet_v2_x0_5")


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


def known(count: int = 8, ms: float = 40.0) -> list[Record]:
    records = []
    for n in range(count):
        record = record_of(0.7 + n / 100, ms * (0.72 + n / 25))  # up to `ms`, the best the slowest
        history = tuple(epochs_to(record.evaluation.figure.value, f"{n * 40503 % 0x10000:04x}"))
        evaluation = dataclasses.replace(record.evaluation, history=history, epochs=PASSES)
        records.append(dataclasses.replace(record, evaluation=evaluation))
    return records


def walk_of(learner: Learner, records: Sequence[Record], share: float = 0.0) -> Walk:
    early = EarlyStop(learner, lambda: records, Audit(share), 24, PASSES)
    return Walk(Guidelines({}), Budget(), {"fake": FakeTarget()}, learner, early=early)


@pytest.mark.parametrize(
    ("accuracy", "records", "passes", "feasible"),
    [
        (0.50, known(), 1, False),
        (0.7895, known(), 4, True),  # may come up to the best, 0.77
        (0.70, known(ms=99.0), 4, True),  # the others are slower than its 40 ms
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
    early = EarlyStop(learner, lambda: others, Audit(0.0), 24, PASSES, lambda architecture: size)
    own = make_curve(learner.evaluate(candidate), size)
    knowing = dataclasses.replace(early, earlier={candidate.digest: own})
    assert early.evaluate(candidate, [40.0]).foreseen is not None
    assert knowing.evaluate(candidate, [40.0]) == early.evaluate(candidate, [40.0])


def test_what_was_stopped_or_is_beyond_a_limit_is_no_rival() -> None:
    *records, one, other, third = known(12)
    given_up = dataclasses.replace(
        one,
        evaluation=dataclasses.replace(
            one.evaluation, stopped="why", history=one.evaluation.history[:1]
        ),
        excesses={STOP_RULE: 1.0},
        foreseen=0.3,
    )
    hopeless = dataclasses.replace(
        third, evaluation=dataclasses.replace(third.evaluation, stopped="learns nothing")
    )
    slow = dataclasses.replace(other, excesses={"fake_ms": 0.1})
    model, rivals = known_of([*records, given_up, slow, hopeless])
    assert len(model.finals) == 10  # one beyond a limit was trained to its end all the same
    assert [len(each.signals) for each in model.curves] == [*[PASSES] * 9, 1, PASSES]
    scores = [r.evaluation.score for r in [*records, hopeless]]
    assert [rival.score for rival in rivals] == scores


def test_a_predicted_rival_counts_as_slow_as_it_may_be() -> None:
    record = known(1)[0]
    guess = dataclasses.replace(latency_of(1.0), provenance="predicted", ci_ms=(0.5, 1.5))
    _, rivals = known_of([dataclasses.replace(record, latencies={"fake": guess})])
    assert rivals[0].latencies_ms == (1.5,)


def area(records: Mapping[int, Record]) -> float:
    """The hypervolume of the front before a score of 0 and the slowest of these candidates."""
    rivals = sorted(
        (next(iter(r.latencies.values())).ms, r.evaluation.score if r.feasible else 0.0)
        for r in records.values()
    )
    last, level, found = rivals[-1][0], 0.0, 0.0
    for ms, score in rivals:
        found += (last - ms) * max(0.0, score - level)
        level = max(level, score)
    return found


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
        records = self.store.all
        audit = Audit(0.2, "salt")
        early = EarlyStop(self.learner, lambda: records().values(), audit, trials, PASSES)
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
    found = audit_stops(Front(records))
    assert found is not None and found.stopped > 0 and found.saved > 0
    assert found.entered == 0
    full = Learner()
    ended = {
        n: dataclasses.replace(r, evaluation=full.evaluate(r.architecture), excesses={})
        for n, r in records.items()
    }
    assert area(records) > 0.95 * area(ended)
    for number, record in records.items():
        trial = study.trials[number]
        assert trial.values == list(record.sampler_objectives)
        assert trial.user_attrs.get(FORESEEN) == record.foreseen
        stopped = record.excesses.get(STOP_RULE, 0.0) > 0
        assert (record.foreseen is not None) == stopped
        if record.foreseen is not None:
            assert record.foreseen == pytest.approx(ended[number].evaluation.score, abs=0.1)
            assert record.evaluation.score < record.foreseen


def test_where_losses_are_the_score_their_mean_so_far_foretells_it() -> None:
    early, late = Epoch(0.9, 0.1), Epoch(0.3, 0.1)
    assert signals_of([early, late], 7.0, "accuracy") == (-0.3, 7.0)
    assert signals_of([early, late], 7.0, "training_speed") == pytest.approx((-0.6, 7.0))
    by_losses = dataclasses.replace(
        evaluation_of(0.9), scored_by="training_speed", scores=(-0.6,), history=(early, late)
    )
    curve = make_curve(by_losses, 7.0)
    assert curve.final is not None
    assert curve.signals[-1] == pytest.approx((curve.final, 7.0))


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
    found = audit_stops(Front(records))
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
    first = next(iter(known))
    with bench.db.begin() as connection:  # as an older or a broken program may have left it
        cut = "update nas_records set document = substr(document, 2) where architecture = :first"
        connection.execute(text(cut), {"first": first})
    rest = {digest: trained for digest, trained in known.items() if digest != first}
    assert whole_trainings(bench.db, recipe, data, seed) == rest
    bench.db.close()
    earlier = {d: make_curve(e, log_flops(a)) for d, (a, e) in known.items()}
    model, rivals = known_of([], earlier=earlier)
    assert len(model.finals) == len(earlier)
    assert rivals == ()  # a candidate need not stand beside what another study found
    again = ended[0]
    model, _ = known_of([again], earlier=earlier)
    assert model.curves[-1] == earlier[again.architecture.digest]
    assert len(model.curves) == len(earlier)


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
    evaluator = StoredEvaluator(training, store, WeightsFolder.of_study(db, "s"), print)
    early = EarlyStop.of(evaluator, store, 24)
    db.close()
    size = log_flops(training.adapt(V2))
    assert early.earlier == {V2.digest: make_curve(evaluation, size)}
    assert (early.candidates, early.passes) == (24, PASSES)
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
    model, rivals = known_of(known())
    rule = StopRule(model, rivals, 24, PASSES)
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
