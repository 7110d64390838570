"""What a search says when it begins."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from doubles import EventRecorder
from optuna.samplers import RandomSampler
from sqlalchemy import text

from nas_sv2.api.searching import search
from nas_sv2.database.database import Database
from nas_sv2.evaluate.fitting import determinism
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.search.events.events import Notice
from nas_sv2.search.session import session
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.session.session import _is_alone, _with_recipe_of_study
from nas_sv2.space.choices.extremes import smallest
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume
from nas_sv2.studies.storage.trial_lease import TrialLeases


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    db = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    db.migrate()
    yield RecordStore(db, "s")
    db.close()


def leased_by(store: RecordStore, process: str | None) -> None:
    """A lease of the study; of this process where none is named."""
    assert TrialLeases(store.db, store.study).take(lambda others: True)
    if process is not None:
        with store.db.begin() as connection:
            connection.execute(text("UPDATE nas_trial_leases SET process = :p"), {"p": process})


def test_nobody_else_is_at_the_study(store: RecordStore) -> None:
    said: list[str] = []
    assert _is_alone(store, 1, said.append)
    assert not _is_alone(store, 2, said.append)  # as was asked for: nothing to say
    assert said == []


@pytest.mark.parametrize(
    ("process", "who"),
    [
        (None, f"process {os.getpid()} on "),
        ("pi@5e9b:77:123", "process 77 on pi works at this study"),
    ],
    ids=["this process", "another machine's"],
)
def test_a_seed_that_cannot_repeat_is_said_in_a_line(
    store: RecordStore, process: str | None, who: str
) -> None:
    said: list[str] = []
    leased_by(store, process)
    assert not _is_alone(store, 1, said.append)
    (line,) = said
    assert who in line
    assert line.startswith("the seed will not repeat these candidates: ")


def test_a_recipe_file_that_was_only_renamed_is_that_of_the_study(tmp_path: Path) -> None:
    """Trainings are found by the digest, which has the name."""
    text = "nas_sv2_recipe: 1\nepochs: 2\nbatch: 4\n"
    longer = text.replace("epochs: 2", "epochs: 3")
    for name, content in [("one", text), ("other", text), ("longer", longer)]:
        (tmp_path / f"{name}.yaml").write_text(content)
    began, renamed, changed = (
        plan_search("arm", recipe=str(tmp_path / f"{name}.yaml"), study="s")
        for name in ("one", "other", "longer")
    )
    assert began.recipe.digest != renamed.recipe.digest
    with Database.open(f"sqlite:///{tmp_path / 's.db'}") as db:
        document = {"recipe": "one", "recipe_document": recipe_to_document(began.recipe)}
        identity = {"targets": {"arm": "emulated"}, **document}
        create_or_resume(db, "s", identity, RandomSampler(seed=0)).ask()
        assert _with_recipe_of_study(renamed, db).recipe == began.recipe
        assert _with_recipe_of_study(changed, db).recipe == changed.recipe


@pytest.mark.parametrize(
    ("changes", "trials", "workers"),
    [
        ({}, 100, 6),
        ({}, 4, 4),
        ({"workers": 2}, 100, 2),
        ({"trains": False}, 100, 1),
        ({"train_on": "cuda"}, 100, 1),
    ],
)
def test_a_search_has_a_worker_for_each_core_if_candidates_are_trained_on_them(
    changes: dict[str, Any], trials: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(determinism, "core_count", lambda: 6)
    monkeypatch.setattr(determinism, "memory_bytes", lambda: 32 << 30)
    plan = dataclasses.replace(plan_search("arm", workers=None), trials=trials)
    if "trains" in changes:
        changes = {"evaluator": dataclasses.replace(plan.evaluator, **changes)}
    plan = dataclasses.replace(plan, **changes)
    assert session._with_workers(plan, None).workers == workers


def test_a_search_on_a_cluster_uses_all_of_it() -> None:
    cluster: Any = SimpleNamespace(total={"CPU": 40, "GPU": 3}.__getitem__)
    plan = dataclasses.replace(plan_search("arm", workers=None, ray="auto"), trials=100)
    assert session._with_workers(plan, cluster).workers == 40
    plan = dataclasses.replace(plan, train_on="cuda")
    assert session._with_workers(plan, cluster).workers == 3


@pytest.mark.parametrize(("noted", "trials", "threads"), [(None, 0, 1), (None, 1, 2), (2, 5, 2)])
def test_a_study_keeps_the_threads_that_it_was_begun_with(
    noted: int | None, trials: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(determinism, "core_count", lambda: 6)
    study = optuna.create_study()
    for _ in range(trials):
        study.ask()
    if noted is not None:
        study.set_user_attr("training_threads", noted)
    opening: Any = None
    assert session._Opening._training_threads(opening, study) == threads
    assert study.user_attrs["training_threads"] == threads


class Wide:
    """An evaluator that needs no training."""

    name = "wide"

    def evaluate(self, architecture: Architecture) -> Evaluation:
        return Evaluation(architecture.stages[0].width / 1000)


def test_a_network_to_start_with_that_a_finished_study_does_not_ask_is_said(
    tmp_path: Path,
) -> None:
    def notices(trials: int, start: Sequence[Architecture] = ()) -> list[str]:
        heard = EventRecorder()
        at = f"sqlite:///{tmp_path / 's.db'}"
        how: dict[str, Any] = {"space": "40M", "evaluator": Wide(), "study": "s", "storage": at}
        search("arm", trials=trials, start=start, on_event=heard, **how)
        return [each.reason for each in heard.events if isinstance(each, Notice)]

    own = smallest(open_space("40M"))
    assert notices(2) == []
    assert notices(2, [own]) == [
        "1 network to start with not asked, as the study has its trials; --trials 3 goes on"
    ]
    assert notices(3, [own]) == []
