"""A study replayed on another target: nothing is trained, and what came out is a study."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import EventRecorder, FakeEvaluator, FakeTarget, latency_of, small_space
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from packages import RECIPE, images_file

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, MeasurementError, NasError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search import replay as replays
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.replay import Replayed, ReplayRequest, replay
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.studies.findings.attributes import ERROR, NOT_REPLAYED, REPLAYED
from nas_sv2.studies.findings.record import STOP_RULE, Record
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.named_networks import record_of, records_of
from nas_sv2.studies.storage.places import data_place
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, load_study, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

TRIALS = 10
LIMITS = Budget(flops=1.05e5, latency_ms={"fake": 0.09})


@dataclasses.dataclass
class OtherTarget(FakeTarget):
    """Takes its time for parameters: another order than by multiply-adds."""

    where: str = "arm: stand-in"

    def estimate(self, network: Network) -> Latency:
        FakeTarget.estimate(self, network)
        ms = cost_of(lower(network)).params / 1e4
        return dataclasses.replace(latency_of(ms, self.name), device=self.where)


def searched(folder: Path, budget: Budget, trials: int = TRIALS) -> str:
    """A study with stand-ins; another search of the same goes on with it."""
    storage = f"sqlite:///{folder / 's.db'}"
    db = Database.open(storage)
    db.migrate()
    space = small_space()
    data = images_file(folder)
    identity = {
        "targets": {"fake": "measured"},
        "space": space.name,
        "budget": budget.to_json(),
        "guidelines": {},
        "latency": "measured",
        "data": data,
        "data_content": open_data(data).provenance,
        "skip_unreadable": False,
        "recipe": RECIPE.name,
        "recipe_digest": RECIPE.digest,
        "recipe_document": recipe_to_document(RECIPE),
        "space_digest": space.digest,
        "seed": 0,
    }
    study = create_or_resume(Database.open(storage), "old", identity, RandomSampler(seed=trials))
    store = RecordStore(db, study_key(study))
    walk = Walk(Guidelines({}), budget, {"fake": FakeTarget()}, FakeEvaluator())
    weights = WeightsFolder.of_study(Database.open(storage), store.study)
    Loop(study, space, walk, store, weights, True, EventRecorder()).run(trials)
    db.close()
    return storage


@pytest.fixture(scope="module")
def searched_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    searched(folder, LIMITS)
    return folder


@pytest.fixture
def storage(searched_once: Path, tmp_path: Path) -> str:
    """A copy of the study for each test."""
    shutil.copytree(searched_once, tmp_path, dirs_exist_ok=True)
    return f"sqlite:///{tmp_path / 's.db'}"


Opened = Callable[..., list[FakeTarget]]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Puts a stand-in behind the name `arm`; gives those that were opened."""

    def put(**fields: Any) -> list[FakeTarget]:
        opened: list[FakeTarget] = []

        def open_target(self: TargetBook, name: str, **_: object) -> FakeTarget:
            opened.append(OtherTarget(name, **fields))
            return opened[-1]

        monkeypatch.setattr(TargetBook, "open", open_target)
        return opened

    yield put


def replayed(storage: str, **changes: Any) -> Replayed:
    request = dataclasses.replace(ReplayRequest("old", "arm"), **changes)
    return replay(request, Database.open(storage), lambda line: None, lambda done, total: None)


def by_digest(records: Mapping[int, Record]) -> dict[str, Record]:
    return {record.architecture.digest: record for record in records.values()}


def test_every_network_is_measured_and_keeps_number_and_accuracy(
    storage: str, other: Opened
) -> None:
    other()
    found = replayed(storage)
    old, new = (
        records_of(Database.open(storage), "old"),
        records_of(Database.open(storage), "old-on-arm"),
    )
    assert found.front.records == new
    assert new.keys() == old.keys()
    for number, record in new.items():
        was = old[number]
        assert (record.architecture, record.evaluation) == (was.architecture, was.evaluation)
        assert record.latencies.keys() == {"arm"}
        assert record.latencies["arm"].ms == pytest.approx(record.cost.params / 1e4)
        assert record.excesses == {"flops": was.excesses["flops"]}
        trial = load_study(Database.open(storage), "old-on-arm").trials[number]
        assert trial.values == list(record.objectives)
        assert trial.user_attrs[REPLAYED] == f"old:{number}"
    # Whatever stays or enters is on the front that the new study shows by itself.
    shown = {
        entry.number for entry in read_study(Database.open(storage), "old-on-arm").front.members
    }
    assert {move.number for move in found.comparison.moves if move.is_on} == shown
    assert found.comparison.expected and {"stays", "enters"} <= {
        move.change for move in found.comparison.moves
    }
    assert len(found.reasons) == len(found.comparison.changed) > 0


def test_trials_without_a_record_keep_their_place_and_say_why(storage: str, other: Opened) -> None:
    other()
    found = replayed(storage)
    old, new = (
        load_study(Database.open(storage), "old").trials,
        load_study(Database.open(storage), "old-on-arm").trials,
    )
    assert [trial.number for trial in new] == [trial.number for trial in old]
    by_latency = by_cost = 0
    for before, after in zip(old, new, strict=True):
        if before.state == TrialState.PRUNED and "fake_ms" in before.user_attrs["rejected_by"]:
            by_latency += 1
            assert after.state == TrialState.FAIL
            assert after.user_attrs[NOT_REPLAYED].startswith("never trained: fake_ms")
        elif before.state == TrialState.PRUNED:
            by_cost += 1
            assert after.state == TrialState.PRUNED
            assert after.constraints["flops"] == before.constraints["flops"] > 0
    assert by_latency
    assert by_cost
    (note,) = (note for note in found.notes if "never trained" in note)
    assert note.startswith(f"{by_latency} network")


def test_a_killed_replay_goes_on_and_measures_nothing_twice(storage: str, other: Opened) -> None:
    faults: list[NasError | KeyboardInterrupt] = [DeviceError("gone"), KeyboardInterrupt()]
    other(fault=lambda number: faults.pop() if number == 3 and faults else None)
    for expected in (KeyboardInterrupt, DeviceError):
        with pytest.raises(expected):
            replayed(storage)
    opened = other()
    found = replayed(storage)
    assert len(found.front.records) == TRIALS
    # The first two runs measured two each, the second also asked once which device it is.
    assert 2 <= len(opened[0].asked) - 1 <= TRIALS - 3
    again = other()
    assert replayed(storage).front.records == found.front.records
    assert len(again[0].asked) == 1  # to see that it is the same device
    assert len(load_study(Database.open(storage), "old-on-arm").trials) == len(
        load_study(Database.open(storage), "old").trials
    )


def test_a_kill_between_record_and_trial_loses_and_doubles_nothing(
    storage: str, other: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    other()
    save = RecordStore.save

    def save_and_die(store: RecordStore, trial: int, record: Record) -> None:
        save(store, trial, record)
        if len(store.all()) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RecordStore, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            replayed(storage)
    opened = other()
    found = replayed(storage)
    assert found.front.records.keys() == records_of(Database.open(storage), "old").keys()
    assert len(opened[0].asked) == 1 + TRIALS - 3
    complete = load_study(Database.open(storage), "old-on-arm").get_trials(
        states=(TrialState.COMPLETE,)
    )
    assert {t.number for t in complete if "duplicate_of" not in t.user_attrs} == set(
        found.front.records
    )


def test_trials_that_came_later_are_added(storage: str, other: Opened, tmp_path: Path) -> None:
    other()
    replayed(storage)
    searched(tmp_path, LIMITS, TRIALS + 2)
    found = replayed(storage)
    old = records_of(Database.open(storage), "old")
    assert len(old) == TRIALS + 2
    assert by_digest(found.front.records).keys() == by_digest(old).keys()


def test_a_network_that_cannot_be_measured_is_left_out_and_tried_again(
    storage: str, other: Opened
) -> None:
    other(fault=lambda number: MeasurementError("no such operator") if number == 2 else None)
    found = replayed(storage)
    assert len(found.front.records) == TRIALS - 1
    assert "1 network was not measured on arm" in found.notes
    failed = [
        t for t in load_study(Database.open(storage), "old-on-arm").trials if ERROR in t.user_attrs
    ]
    assert [trial.user_attrs[ERROR] for trial in failed] == ["no such operator"]
    other()
    found = replayed(storage)
    assert (
        by_digest(found.front.records).keys()
        == by_digest(records_of(Database.open(storage), "old")).keys()
    )


def test_a_latency_limit_is_the_new_target_s_and_the_old_one_is_restated(
    storage: str, other: Opened
) -> None:
    other()
    found = replayed(storage, budgets=["0.25ms"], name="limited")
    for record in found.front.records.values():
        assert record.excesses["arm_ms"] == pytest.approx(record.latencies["arm"].ms / 0.25 - 1)
        assert "fake_ms" not in record.excesses
    assert {record.feasible for record in found.front.records.values()} == {False, True}
    (note,) = (note for note in found.notes if note.startswith("0.09 ms on fake is a limit"))
    assert f"that is {0.09 * found.comparison.typical:.3g} ms on arm" in note
    assert any("it breaks arm_ms" in reason for reason in found.reasons)
    with pytest.raises(ConfigError, match=r"^name must be another name: this one was begun with"):
        replayed(storage, budgets=["0.5ms"], name="limited")


def test_what_cannot_be_meant_is_named(storage: str, other: Opened) -> None:
    other()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"target": "arm,cpu"}, "target .*; got 'arm,cpu'"),
        ({"target": "mars"}, "target .*; got 'mars'"),
        ({"study": "nobody"}, "study .*; got 'nobody'"),
        ({"name": "old"}, "^name .*; got 'old'"),
        ({"name": ""}, "^name .*; got ''"),
        ({"budgets": ["140M"]}, "budget .*FLOPs, params and memory stay.*; got '140M'"),
        ({"budgets": ["fake=3ms"]}, "budget .*one of arm.*; got 'fake=3ms'"),
    ]
    for changes, named in refused:
        with pytest.raises(ConfigError, match=named):
            replayed(storage, **changes)


def test_data_that_were_moved_are_noted_with_the_replay(
    storage: str, other: Opened, searched_once: Path, tmp_path: Path
) -> None:
    other()
    with pytest.raises(ConfigError, match=r"data must be .*, the data of the study"):
        replayed(storage, data=images_file(tmp_path, seed=1))
    with pytest.raises(ConfigError, match="a study in"):
        load_study(Database.open(storage), "old-on-arm")
    replayed(storage)
    assert (
        data_place(load_study(Database.open(storage), "old-on-arm"))
        == f"npz:{searched_once / 'images0.npz'}"
    )
    there = f"npz:{tmp_path / 'images0.npz'}"  # a copy
    replayed(storage, data=there)
    assert data_place(load_study(Database.open(storage), "old-on-arm")) == there


def test_another_device_under_the_same_name_is_refused(storage: str, other: Opened) -> None:
    other()
    replayed(storage)
    other(where="elsewhere")
    with pytest.raises(ConfigError, match="begun on arm: stand-in; here is elsewhere"):
        replayed(storage)


def test_weights_of_the_front_come_along(storage: str, other: Opened) -> None:
    old_key = study_key(load_study(Database.open(storage), "old"))
    kept = record_of(Database.open(storage), "old", 0).architecture.digest
    WeightsFolder.of_study(Database.open(storage), old_key).save(
        kept, {"w": np.ones(3, np.float32)}
    )
    other()
    replayed(storage)
    new = WeightsFolder.of_study(
        Database.open(storage), study_key(load_study(Database.open(storage), "old-on-arm"))
    )
    assert new.find(kept) is not None


def test_two_replays_of_one_name_do_not_write_at_once(storage: str, other: Opened) -> None:
    other()
    with (
        replays._hold(Database.open(storage), "old-on-arm"),
        pytest.raises(ConfigError, match="is being written by process"),
    ):
        replayed(storage)


def test_a_target_that_can_measure_nothing_is_an_error(storage: str, other: Opened) -> None:
    other(fault=lambda number: MeasurementError("no such operator"))
    with pytest.raises(MeasurementError, match="no network of old could be measured on arm"):
        replayed(storage)


def test_a_study_that_a_search_is_at_is_left_alone(storage: str, other: Opened) -> None:
    other()
    replayed(storage)
    study = load_study(Database.open(storage), "old-on-arm")
    study.ask()
    with pytest.raises(ConfigError, match="a study without a running search: trials"):
        replayed(storage)


def test_a_stopped_training_is_told_by_the_score_that_was_foreseen(
    storage: str, other: Opened
) -> None:
    """A search may continue the replay, and would take the score at the end for a whole one's."""
    other()
    db = Database.open(storage)
    store = RecordStore(db, study_key(load_study(db, "old")))
    number, whole = next((n, r) for n, r in store.all().items() if r.baseline is None)
    ended = dataclasses.replace(whole.evaluation, stopped="it promises no growth of the front")
    excesses = {**whole.excesses, STOP_RULE: 1.0}
    stopped = dataclasses.replace(whole, evaluation=ended, excesses=excesses, foreseen=0.77)
    store.save(number, stopped)
    found = replayed(storage)
    trial = load_study(db, found.study).get_trials()[number]
    assert trial.values[0] == 0.77
    assert found.front.records[number].evaluation.score == whole.evaluation.score
    assert not found.front.records[number].feasible
