"""How a study's search was started: what was asked, by which versions, on which machine.

Every run leaves a note of its own with the study, so that two that begin at once both leave one.
"""

import platform
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import optuna

from nas_sv2.database.engine import without_password
from nas_sv2.database.processes import process_name
from nas_sv2.errors import StoreError
from nas_sv2.studies.findings.attributes import RUN
from nas_sv2.version import __version__

PACKAGES = ("torch", "onnx", "onnxruntime", "optuna", "numpy")
"""Packages whose versions a figure depends on."""
OPTIONS = {"targets": "target", "budgets": "budget", "train_on": "device"}
"""Options of `nas-sv2 search` that are not called as the fields of its request."""


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a search.

    Attributes:
        began: UTC, ISO 8601.
        command: What to type for the same search; a storage password is not in it.
        versions: Of nas-sv2, Python and the packages that decide figures.
        machine: The system it ran on.
    """

    began: str
    command: str
    versions: Mapping[str, str]
    machine: str


def note_run(study: optuna.Study, request: Mapping[str, Any]) -> None:
    """Keep with the study that a search was begun.

    Args:
        study: Of the search.
        request: The options of `nas-sv2 search` by their names, defaults too.
    """
    began = datetime.now(UTC).isoformat(timespec="microseconds")
    run = Run(began, command_of(request), versions_here(), machine_here())
    study.set_user_attr(f"{RUN}{began} {process_name()}", asdict(run))


def runs_of(study: optuna.Study) -> list[Run]:
    """The runs of a study, the oldest first; none of a study from before there were notes.

    Raises:
        StoreError: A note cannot be read.
    """
    notes = [note for name, note in study.user_attrs.items() if name.startswith(RUN)]
    try:
        runs = (Run(**{**note, "command": _in_words_of_today(note["command"])}) for note in notes)
        return sorted(runs, key=lambda run: run.began)
    except (KeyError, TypeError) as error:
        raise StoreError(f"how a search was begun cannot be read: {error}") from error


def command_of(request: Mapping[str, Any]) -> str:
    """The command line of a request, with every option written out."""
    words = ["nas-sv2", "search"]
    for field, value in request.items():
        option = f"--{OPTIONS.get(field, field).replace('_', '-')}"
        words += _option(option, without_password(value) if field == "storage" else value)
    return shlex.join(words)


def _in_words_of_today(command: str) -> str:
    """The command of an older version, with options as they are called now."""
    words = shlex.split(command)
    if "--stop-rule" in words and (choice := words[(at := words.index("--stop-rule")) + 1 :][:1]):
        if choice == ["off"]:
            del words[at : at + 2]
        elif choice == ["on"]:
            del words[at + 1]
    return shlex.join("--device" if word == "--train-on" else word for word in words)


def _option(option: str, value: object) -> Iterable[str]:
    match value:
        case None | False:
            return []
        case True:
            return [option]
        case list() | tuple():
            return [word for each in value for word in (option, str(each))]
        case _:
            return [option, str(value)]


def versions_here() -> dict[str, str]:
    """Versions of this process, by name."""
    return {
        "nas-sv2": __version__,
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def machine_here() -> str:
    """System and processor architecture; no host name, which is nobody's business."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"
