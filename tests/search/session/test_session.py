"""What a search says when it begins."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.search.session.plan import SAMPLERS, plan_search
from nas_sv2.search.session.session import _is_alone, _with_recipe_of_study
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
        create_or_resume(db, "s", identity, SAMPLERS["random"].make(0)).ask()
        assert _with_recipe_of_study(renamed, db).recipe == began.recipe
        assert _with_recipe_of_study(changed, db).recipe == changed.recipe
