"""Record each start of a study's search: its command, versions and machine.

Every run writes its own attribute of the study, so that runs that begin at once do not overwrite
each other.
"""

import platform
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import msgspec
import optuna

from nas_sv2.database.processes import process_name
from nas_sv2.documents import reading_stored
from nas_sv2.passwords import masked
from nas_sv2.studies.findings.attributes import RUN
from nas_sv2.version import __version__

PACKAGES = ("torch", "onnx", "onnxruntime", "optuna", "numpy")
"""Packages whose versions results depend on."""
OPTIONS = {"targets": "target", "budgets": "budget", "train_on": "device", "warm_start": "from"}
"""Options of `nas-sv2 search` whose names differ from the fields of its request."""


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a search.

    Attributes:
        began: The time of the start; UTC, ISO 8601.
        command: The command for the same search, without a storage password.
        versions: The versions of nas-sv2, Python and the packages that results depend on.
        machine: The operating system and processor architecture.
    """

    began: str
    command: str
    versions: Mapping[str, str]
    machine: str

    def typed(self, option: str) -> str | None:
        """Return the value of an option as it was typed; None if it was left out."""
        words = shlex.split(self.command)
        return words[words.index(option) + 1] if option in words else None


def note_run(study: optuna.Study, request: Mapping[str, Any]) -> None:
    """Store the start of a search with its study.

    Args:
        study: The study of the search.
        request: The options of `nas-sv2 search` by name, with defaults.
    """
    began = datetime.now(UTC).isoformat(timespec="microseconds")
    run = Run(began, command_of(request), versions_here(), machine_here())
    study.set_user_attr(f"{RUN}{began} {process_name()}", asdict(run))


def runs_of(study: optuna.Study) -> list[Run]:
    """Return the runs of a study, the oldest first; older versions recorded none.

    Raises:
        StoreError: A run cannot be read.
    """
    notes = [note for name, note in study.user_attrs.items() if str(name).startswith(RUN)]
    with reading_stored("the start of a search"):
        runs = [msgspec.convert(note, Run) for note in notes]
        today = (replace(run, command=_in_words_of_today(run.command)) for run in runs)
        return sorted(today, key=lambda run: run.began)


def command_of(request: Mapping[str, Any]) -> str:
    """Return the command line of a request, with every option written out."""
    words = ["nas-sv2", "search"]
    for field, value in request.items():
        option = f"--{OPTIONS.get(field, field).replace('_', '-')}"
        words += _option(option, masked(value) if field == "storage" else value)
    return shlex.join(words)


def study_command(command: str, study: str, *options: str) -> str:
    """Return a command about a study; a name that begins with a dash is not read as an option."""
    words = ["nas-sv2", *command.split()]
    if study.startswith("-"):
        return shlex.join([*words, *options, "--", study])
    return shlex.join([*words, study, *options])


def _in_words_of_today(command: str) -> str:
    """Rewrite the command of an older version with the present options."""
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
    """Return the versions of this process, by name."""
    return {
        "nas-sv2": __version__,
        "Python": platform.python_version(),
        **{name: _version_of(name) for name in PACKAGES},
    }


def _version_of(package: str) -> str:
    """Return the version of a package; a wheel of another name may hold it (onnxruntime-gpu)."""
    try:
        return version(package)
    except PackageNotFoundError:
        wheels = sorted(set(packages_distributions().get(package, ())))
        return ", ".join(f"{version(wheel)} ({wheel})" for wheel in wheels) or "unknown"


def machine_here() -> str:
    """Return system and processor architecture; the host name is left out for privacy."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"
