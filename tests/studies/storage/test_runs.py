import shlex
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import StoreError
from nas_sv2.studies.findings.attributes import RUN
from nas_sv2.studies.storage import runs
from nas_sv2.studies.storage.runs import Run, command_of, note_run, runs_of, study_command
from nas_sv2.studies.storage.study import create_or_resume, load_study
from nas_sv2.version import __version__

REQUEST = {
    "targets": "arm,cpu",
    "budgets": ["140M", "arm=25ms"],
    "space": None,
    "study": "it's <mine>",
    "storage": "postgresql://u:s3cr3t@h/db",
    "tolerance": 0.05,
    "stop_rule": True,
    "require_measured": False,
    "skip_unreadable": True,
}


@pytest.mark.parametrize(
    ("wheels", "known"),
    [
        (["onnxruntime-gpu"], "onnxruntime-gpu 1.0 (onnxruntime-gpu)"),
        (["onnxruntime-openvino"] * 2, "onnxruntime-openvino 1.0 (onnxruntime-openvino)"),
        ([], "unknown"),
    ],
)
def test_a_package_of_another_wheel_is_known_by_its_name(
    monkeypatch: pytest.MonkeyPatch, wheels: list[str], known: str
) -> None:
    """We advise to install onnxruntime-gpu, and it takes the place of the other."""

    def version(package: str) -> str:
        if package == "onnxruntime":
            raise PackageNotFoundError(package)
        return f"{package} 1.0"

    monkeypatch.setattr(runs, "version", version)
    monkeypatch.setattr(runs, "packages_distributions", lambda: {"onnxruntime": wheels})
    found = runs.versions_here()
    assert found["onnxruntime"] == known
    assert found["torch"] == "torch 1.0"


def test_a_command_says_every_option_and_no_password() -> None:
    command = command_of(REQUEST)
    assert shlex.split(command)[2:] == [
        *("--target", "arm,cpu", "--budget", "140M", "--budget", "arm=25ms"),
        *("--study", "it's <mine>", "--storage", "postgresql://***@h/db"),
        *("--tolerance", "0.05", "--stop-rule", "--skip-unreadable"),
    ]


def test_a_name_that_begins_with_a_dash_is_no_option() -> None:
    assert study_command("front", "a b", "--storage", "s.db") == (
        "nas-sv2 front 'a b' --storage s.db"
    )
    assert study_command("study replay", "-a", "--target", "x") == (
        "nas-sv2 study replay --target x -- -a"
    )


def test_a_run_knows_what_was_typed() -> None:
    run = Run("2026-11-30", command_of(REQUEST), {}, "Linux")
    assert run.typed("--study") == "it's <mine>"
    assert run.typed("--recipe") is None


def test_every_run_leaves_a_note_of_its_own(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    study = create_or_resume(
        Database.open(storage), "s", {"targets": {"arm": "emulated"}}, RandomSampler()
    )
    assert runs_of(study) == []
    note_run(study, REQUEST)
    note_run(study, {**REQUEST, "stop_rule": False})
    first, second = runs_of(load_study(Database.open(storage), "s"))
    assert first.began < second.began
    assert "--stop-rule" in first.command and "--stop-rule" not in second.command
    assert first.versions["nas-sv2"] == __version__
    assert {"torch", "onnxruntime", "Python"} <= first.versions.keys()
    study.set_user_attr(f"{RUN}x", {"began": "x"})
    with pytest.raises(StoreError):
        runs_of(study)


def test_commands_of_older_versions_are_given_as_they_are_typed_now(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path}/s.db")
    study = create_or_resume(db, "s", {"targets": {"arm": "emulated"}}, RandomSampler())
    note = {"versions": {}, "machine": "Linux"}
    for number, (stored, _) in enumerate(OLD):
        run = {**note, "began": f"2026-01-0{number + 1}", "command": stored}
        study.set_user_attr(f"{RUN}{number}", run)
    assert [run.command for run in runs_of(study)] == [now for _, now in OLD]


OLD = (
    (
        "nas-sv2 search --target arm --stop-rule off --train-on cpu",
        "nas-sv2 search --target arm --device cpu",
    ),
    (
        "nas-sv2 search --stop-rule on --train-on cuda --study 'a b'",
        "nas-sv2 search --stop-rule --device cuda --study 'a b'",
    ),
    ("nas-sv2 search --target arm", "nas-sv2 search --target arm"),
)
