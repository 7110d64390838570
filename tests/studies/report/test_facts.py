import dataclasses
import random
from pathlib import Path

import optuna
import pytest
from doubles import record_of
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scripted import measurement_of

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.report.facts import FEWEST, LEAST_FORETOLD, devices_of, importances_of

DISTRIBUTIONS = {
    "deep": IntDistribution(1, 8),
    "idle": IntDistribution(1, 8),
    "form": CategoricalDistribution(["a", "b"]),
}
OBJECTIVES = ["top-1 accuracy", "cpu latency (ms, measured)"]


def study(count: int) -> tuple[list[FrozenTrial], dict[int, Record]]:
    """Accuracy is decided by `deep`, latency by chance."""
    chance = random.Random(1)
    trials, records = [], {}
    for number in range(count):
        deep = chance.randint(1, 8)
        params = {"deep": deep, "idle": chance.randint(1, 8), "form": chance.choice("ab")}
        trial = optuna.create_trial(params=params, distributions=dict(DISTRIBUTIONS), value=0.0)
        trial.number = number
        trials.append(trial)
        records[number] = record_of(0.5 + deep / 20, chance.uniform(1, 2))
    return trials, records


def test_what_decided_is_named_and_noise_is_not_explained() -> None:
    trials, records = study(FEWEST)
    accuracy, latency = importances_of(trials, records, OBJECTIVES)
    assert accuracy.objective == OBJECTIVES[0]
    assert accuracy.trials == FEWEST
    assert accuracy.foretold > 0.7
    assert next(iter(accuracy.shares)) == "deep"
    assert sum(accuracy.shares.values()) == pytest.approx(1)
    assert accuracy.shares["deep"] > 0.8
    assert latency.foretold < LEAST_FORETOLD
    assert latency.shares == {}


def test_nothing_is_said_from_few_trials_or_from_what_found_nothing() -> None:
    trials, records = study(FEWEST)
    assert importances_of(trials[1:], records, OBJECTIVES) == []
    del records[3]  # a rejected trial has no record
    assert importances_of(trials, records, OBJECTIVES) == []


@pytest.mark.parametrize("day", [1, 2])
def test_a_detector_is_known_by_the_time_of_its_measurement(day: int, tmp_path: Path) -> None:
    """What was measured is a file, whose digest no record has."""
    whole = measurement_of(architecture="f" * 16)
    at = f"2026-01-0{day}T00:00:00+00:00"
    latency = dataclasses.replace(whole, measured_at=at).latency("cpu")
    record = dataclasses.replace(record_of(0.5), latencies={"cpu": latency})
    with Database.open(f"{tmp_path / 's.db'}") as db:
        MeasurementStore(db).save(whole)
        (device,) = devices_of(db, [record])
    assert device.key == (whole.fingerprint.key if at == whole.measured_at else None)
