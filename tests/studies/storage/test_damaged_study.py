"""A row that another has damaged is named, and never hinders the other studies of its database."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from scripted_study import ScriptedStudy

from nas_sv2.errors import StoreError
from nas_sv2.studies.findings.attributes import TRAINED, whole_identity

Run = Callable[..., tuple[int, str, str]]
STUDY = "update study_user_attributes set value_json = ? where key = ? and study_id = 2"
TRIAL = "update trial_user_attributes set value_json = ? where key = ?"
ROWS = {
    "identity a number": (STUDY, ("7", "nas_sv2")),
    "identity a list": (STUDY, ('["key"]', "nas_sv2")),
    "identity without targets": (STUDY, (json.dumps({"key": "0" * 32}), "nas_sv2")),
    "targets a text": (STUDY, (json.dumps({"key": "0" * 32, "targets": "arm"}), "nas_sv2")),
    "owner a list": (STUDY, ("[]", "key_of")),
    "nested": (STUDY, ("[" * 3000 + "]" * 3000, "key_of")),
    "no json": (STUDY, ("{", "key_of")),
    "a value that is not finite": ("update trial_values set value = null", ()),
    "a kind of value": ("update trial_values set value_type = 'x'", ()),
    "a state": ("update trials set state = 'x'", ()),
    "a distribution": ("update trial_params set distribution_json = '{}'", ()),
    "an offset": (TRIAL, ("1e300", "architecture")),
    "a name of bytes": ("update studies set study_name = x'fffe' where study_id = 2", ()),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of two studies."""
    path = tmp_path_factory.mktemp("told") / "s.db"
    for name in ("good", "bad"):
        ScriptedStudy(f"sqlite:///{path}", name).all(found=0)
    with closing(sqlite3.connect(path)) as connection:  # the rows are in the log beside it yet
        connection.execute("vacuum into ?", (str(path.with_name("whole.db")),))
    return path.with_name("whole.db")


@pytest.mark.parametrize("which", ROWS)
def test_a_damaged_row_is_one_line(
    command_line: Run, told: Path, tmp_path: Path, which: str
) -> None:
    storage = f"sqlite:///{shutil.copy(told, tmp_path)}"
    with closing(sqlite3.connect(tmp_path / told.name)) as connection, connection:
        assert connection.execute(*ROWS[which]).rowcount
    for words in (
        ("front", "bad"),
        ("study", "list"),
        ("study", "show", "bad"),
        ("front", "good"),
    ):
        code, out, err = command_line(*words, "-s", storage)
        assert (out + err).count("Traceback") == 0
        assert code == 0 or (code in (1, 2) and err.count("\n") == 1), err
        of_one = ROWS[which][0] == STUDY and which not in ("nested", "no json")
        assert code == 0 or not of_one or "bad" in words, err


def test_a_study_with_a_damaged_attribute_is_listed_and_deleted(
    command_line: Run, told: Path, tmp_path: Path
) -> None:
    storage = f"sqlite:///{shutil.copy(told, tmp_path)}"
    optuna.load_study(study_name="bad", storage=storage).set_user_attr(
        "reference_ms", {"cpu": "\x1b[2J"}
    )
    said = "study bad: stored reference_ms cannot be read: Expected `float`, got `str`"
    code, out, _ = command_line("study", "list", "-s", storage)
    assert code == 0 and said in out
    assert (
        said in json.loads(command_line("study", "list", "-s", storage, "--json")[1])[1]["fault"]
    )
    assert command_line("front", "bad", "-s", storage)[::2] == (
        1,
        f"nas-sv2: {said} - at `$[...]`\n",
    )
    assert command_line("study", "delete", "bad", "--yes", "-s", storage)[0] == 0


def test_what_an_old_study_lacks_is_named() -> None:
    with pytest.raises(StoreError, match=r"study s: stored nas_sv2 lacks .*recipe_document, seed"):
        whole_identity({"nas_sv2": {"key": "0" * 32, "targets": {}}}, "study s", TRAINED)


def test_nothing_is_cleaned_up_while_a_key_is_damaged(
    command_line: Run, told: Path, tmp_path: Path
) -> None:
    """Its records would be taken for those of a study that was deleted."""
    storage = f"sqlite:///{shutil.copy(told, tmp_path)}"
    identity = optuna.load_study(study_name="bad", storage=storage).user_attrs["nas_sv2"]
    study = optuna.load_study(study_name="bad", storage=storage)
    study.set_user_attr("nas_sv2", {**identity, "key": "../../x"})
    code, out, err = command_line("db", "clean", "--yes", "-s", storage)
    assert (code, out) == (1, "")
    assert err == "nas-sv2: study bad: its key is damaged; nothing is removed\n"
