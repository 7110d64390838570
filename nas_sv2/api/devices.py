"""The user's devices: named, tried and graded; and the targets that there are."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_sv2.api.arguments import Notify, Progress, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.latency.devices.command import command_words
from nas_sv2.latency.devices.ssh import split_port
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets import doctor
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.catalogue import catalogue
from nas_sv2.latency.targets.device_file import PROJECT_FILE, EmulatedCore, user_file
from nas_sv2.latency.targets.device_file import add_device as write_device
from nas_sv2.latency.targets.device_file import check_name as check_name
from nas_sv2.latency.targets.device_file import file_of as file_of
from nas_sv2.latency.targets.device_file import remove_device as remove_device
from nas_sv2.latency.targets.entries import EmulatedTarget, Opening, TargetEntry, TargetInfo
from nas_sv2.latency.targets.target import device_of
from nas_sv2.latency.targets.try_out import NETWORK, Check, check_device
from nas_sv2.space.units.reference import reference


def describe_targets() -> list[TargetInfo]:
    """Describe the built-in targets and the user's devices, which are not asked.

    Raises:
        ConfigError: A device file cannot be read.
    """
    return TargetBook.read().describe()


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """A device of the catalogue, and how far its emulation is from its published figures.

    Attributes:
        name: For `--target`.
        what: The device in words.
        runtime: The runtime of the published figures.
        precision: The number format of the figures.
        figures: Their number.
        mean_error: Mean error after the fit to these figures, as a share.
        worst_error: Largest error.
        unseen_error: Mean error on a network that is left out of the fit; of the paper's GPU, on
            a family of Table 8 that is.
        source: The address of the figures.
    """

    name: str
    what: str
    runtime: str
    precision: str
    figures: int
    mean_error: float
    worst_error: float
    unseen_error: float
    source: str


def describe_catalogue() -> list[CatalogueRow]:
    """Describe the real devices that are emulated by published latencies."""
    rows = []
    for device in catalogue().values():
        error = device.error
        rows.append(
            CatalogueRow(
                device.name,
                device.what,
                device.runtime,
                device.precision,
                error.networks,
                error.typical,
                error.worst,
                error.unseen,
                device.source,
            )
        )
    return rows


def target_names(text: str) -> list[str]:
    """Return the words of several targets, such as `arm` and `my_lab.boards:MyBoard`.

    Raises:
        ConfigError: A name is unknown or given twice, or a plug-in cannot be imported.
    """
    TargetBook.read().names(text)
    return [word.strip() for word in text.split(",")]


def add_device(
    name: str,
    kind: str,
    *,
    project: bool = False,
    replace: bool = False,
    runtime: str | None = None,
    **settings: Any,
) -> tuple[str, Path]:
    """Give a device a name; its description, and the file that holds it.

    Args:
        name: The name, which `target` takes from now on.
        kind: How it is reached: `ssh`, `command`, `emulated`, `cuda` or `local`.
        project: Write the file of the project, not that of the user.
        replace: Overwrite a device of that name.
        runtime: The runtime that executes networks there: `onnxruntime`, `litert`, `ncnn` or
            `torch`. It is the field of that name of the plan. An emulated core has the kernels
            of `onnxruntime`, `litert` or `ncnn`.
        **settings: The keys of the device file; those that are None are left out. `command` is
            one text; `ssh_config` and `table` are paths from here.

    Raises:
        ConfigError: A setting is not allowed, or the name is taken.
        StoreError: The user has no home for a file of devices.
    """
    if kind == "emulated":
        settings["runtime"] = runtime
    elif runtime is not None:
        settings["plan"] = {**(settings.get("plan") or {}), "runtime": runtime}
    paths = {key: settings[key] for key in ("ssh_config", "table") if settings.get(key)}
    settings |= {key: str(Path(path).absolute()) for key, path in paths.items()}
    if kind == "emulated" and os.path.isfile(settings.get("table") or ""):
        _try_table(name, settings)
    if settings.get("host") is not None:
        settings["host"], settings["port"] = split_port(settings["host"], settings.get("port"))
    if settings.get("command") is not None:
        settings["command"] = command_words(settings["command"])
    file = PROJECT_FILE if project or PROJECT_FILE.exists() else user_file()
    entry = write_device(name, {"kind": kind, **settings}, file=file, replace=replace)
    return entry.describe(), file


def _try_table(name: str, settings: Mapping[str, Any]) -> None:
    """Open the table of a core, so that one of another core, runtime or precision is refused."""
    keys = {field.name for field in dataclasses.fields(EmulatedCore)} & settings.keys()
    core = EmulatedCore(**{key: settings[key] for key in keys if settings[key] is not None})
    EmulatedTarget(name, core, "").open(Opening())


def price_device(name: str) -> Latency | None:
    """Price the reference network on an emulated core; None for a device that runs networks.

    Raises:
        ConfigError: No target has that name.
    """
    entry = _entry(name)
    return None if entry.needs_device else entry.open(Opening()).estimate(reference(NETWORK))


def try_device(
    name: str, *, storage: str | Database | None = None, notify: Notify = ignore
) -> Iterator[Check]:
    """Try a device step by step: connect, look what is installed, compute, time a network.

    Args:
        name: The name of a device that runs networks.
        storage: A database in which other machines see that it is in use.
        notify: Is called with a line for each wait.

    Raises:
        ConfigError: No target has that name, or it runs no network.
    """
    entry = _entry(name)
    store = None if storage is None else MeasurementStore(database_of(storage))
    with closing(entry.device(store, notify)) as device:
        assert entry.plan is not None, "a device has a plan"
        yield from check_device(device, entry.plan)


def grade(
    target: str,
    *,
    quick: bool = False,
    sessions: int | None = None,
    pause_s: float | None = None,
    plan: Mapping[str, Any] | None = None,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
    progress: Progress = ignore,
) -> Grade:
    """Grade how far the latencies of a device can be trusted.

    Args:
        target: A target that is measured.
        quick: Fewer sessions in a row, for a first look.
        sessions: How many sessions; the usual number if left out.
        pause_s: Seconds between sessions; the usual pause if left out.
        plan: Fields of the measuring plan that are changed.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line for each wait.
        progress: Is called with the sessions done and all sessions.

    Raises:
        ConfigError: The target is not measured, or a value is not allowed.
        NasError: The device failed.
    """
    usual = (doctor.QUICK_SESSIONS, doctor.QUICK_PAUSE_S)
    usual = usual if quick else (doctor.SESSIONS, doctor.PAUSE_S)
    count = usual[0] if sessions is None else sessions
    pause = usual[1] if pause_s is None else pause_s
    doctor.check_request(count, pause)
    book = TargetBook.read()
    name = book.one(target)
    store = MeasurementStore(database_of(storage))
    with closing(book.open(name, store=store, notify=notify)) as opened:
        device = device_of(opened.with_plan(**(plan or {})))
        return doctor.examine(device, count, pause, progress)


def _entry(name: str) -> TargetEntry:
    book = TargetBook.read()
    try:
        return book[name]
    except ConfigError as error:
        raise ConfigError("name", name, error.sentence) from error
