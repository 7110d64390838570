"""Predicted latencies in the walk: what they may decide, and what is measured after all."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from doubles import FakeEvaluator, FakeTarget, latency_of, record_of

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, MeasurementError, Rejected
from nas_sv2.latency.devices.local import CPU_PLAN, local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.targets.target import MeasuredTarget, Target
from nas_sv2.latency.targets.user_target import UserTarget
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.predict_first import (
    check_mode,
    check_predictable,
    measure_front,
)
from nas_sv2.search.walk.walk import Screen, Walk, is_predicted
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.record_store import RecordStore

V2 = reference("shufflenet_v2_x0_5")  # 40.5 ms on the stand-in


@dataclass
class FakePredictor:
    """So many ms, ±10 %, whatever the network; or a refusal."""

    ms: float
    refuses: bool = False
    name: str = "fake"
    provenance: Provenance = "predicted"

    def estimate(self, network: Network) -> Latency:
        if self.refuses:
            raise MeasurementError("no prediction for stem.0")
        interval = 0.9 * self.ms, 1.1 * self.ms
        return dataclasses.replace(latency_of(self.ms), ci_ms=interval, provenance="predicted")

    def close(self) -> None: ...


def walk(
    predictor: FakePredictor,
    limit_ms: float | None = None,
    careful: bool = True,
    rivals: Iterable[Record] = (),
) -> tuple[Walk, FakeTarget, FakeEvaluator]:
    target, evaluator = FakeTarget(), FakeEvaluator()
    budget = Budget(latency_ms={} if limit_ms is None else {"fake": limit_ms})
    screen = Screen({"fake": UserTarget(predictor)}, careful, lambda: rivals)
    found = Walk(Guidelines({}), budget, {"fake": target}, evaluator, screen=screen)
    return found, target, evaluator


def test_a_prediction_wholly_beyond_the_limit_rejects_unmeasured() -> None:
    candidate, target, evaluator = walk(FakePredictor(40), limit_ms=35)
    with pytest.raises(Rejected, match="fake_ms") as caught:
        candidate.assess(V2)
    assert caught.value.excess == pytest.approx(40 / 35 - 1)
    assert not target.asked
    assert not evaluator.asked


@pytest.mark.parametrize(
    ("predictor", "limit_ms"),
    [
        (FakePredictor(40), 42),  # the limit is within 36-44 ms
        (FakePredictor(40), 38),
        (FakePredictor(10, refuses=True), 100),
    ],
)
def test_what_is_not_known_well_enough_is_measured(
    predictor: FakePredictor, limit_ms: float
) -> None:
    candidate, target, evaluator = walk(predictor, limit_ms)
    if limit_ms < 40.4:
        with pytest.raises(Rejected, match="fake_ms"):
            candidate.assess(V2)
        assert not evaluator.asked
    else:
        record = candidate.assess(V2)
        assert record.latencies["fake"].provenance == "measured"
    assert target.asked == [V2.digest]


@pytest.mark.parametrize(("rival_ms", "measured"), [(37.0, True), (35.0, False)])
def test_what_could_be_on_the_front_is_measured(rival_ms: float, measured: bool) -> None:
    """The candidate may take 36 ms at best."""
    candidate, target, _ = walk(FakePredictor(40), rivals=[record_of(0.999, rival_ms)])
    record = candidate.assess(V2)
    assert is_predicted(record.latencies["fake"]) != measured
    assert bool(target.asked) == measured


def test_a_rival_beyond_its_limits_beats_nobody() -> None:
    candidate, _, _ = walk(FakePredictor(40), rivals=[record_of(0.999, 1.0, excess=0.1)])
    assert not is_predicted(candidate.assess(V2).latencies["fake"])


def test_a_baseline_is_measured() -> None:
    candidate, target, _ = walk(FakePredictor(40), limit_ms=1, careful=False)
    record = candidate.assess(V2, baseline="shufflenet_v2_x0_5")
    assert target.asked == [V2.digest]
    assert record.excesses["fake_ms"] == pytest.approx(record.latencies["fake"].ms - 1)


def test_without_care_the_front_is_measured_at_last(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 'studies.db'}")
    db.migrate()
    store = RecordStore(db, "s")
    candidate, target, _ = walk(FakePredictor(20), limit_ms=40, careful=False)
    first, second = V2, dataclasses.replace(V2, head=V2.head // 2)
    for number, network in enumerate((first, second)):
        store.save(number, candidate.assess(network))
    assert not target.asked
    measure_front(candidate, store, lambda: Front(store.all()))
    # The first is better by prediction, takes 40.5 ms in truth, and makes room for the second.
    assert target.asked == [first.digest, second.digest]
    (entry,) = Front(store.all()).entries
    assert entry.number == 1
    assert entry.record.latencies["fake"].provenance == "measured"
    assert store.all()[0].excesses["fake_ms"] > 0
    db.close()


def test_modes() -> None:
    assert [check_mode(mode) for mode in ("measured", "predicted", "auto")]
    with pytest.raises(
        ConfigError, match=r"latency .*one of measured, predicted, a.*; got 'guess'"
    ):
        check_mode("guess")
    fake: dict[str, Target] = {"fake": FakeTarget()}
    check_predictable("measured", fake)
    with pytest.raises(
        ConfigError, match=r"latency .*measured: none of the targets.*; got 'auto'"
    ):
        check_predictable("auto", fake)
    cpu = MeasuredTarget(MeasuredDevice("cpu", local_device("cpu"), CPU_PLAN))
    check_predictable("auto", {**fake, "cpu": cpu})
