"""Read and write the TOML files in which the user names devices.

`nas-sv2.toml` in the current directory belongs to a project. `devices.toml` in the user's
configuration directory belongs to the user. Both are read; a device of the project takes
precedence. The files hold addresses and commands, but no secrets: ssh keeps those.
"""

import contextlib
import dataclasses
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from platformdirs import user_config_path

from nas_sv2.database.locks import Exclusive, FileLock
from nas_sv2.documents import (
    check_choice,
    check_fields,
    check_value,
    name_errors,
    parse_document,
)
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.files import read_bounded, write_whole
from nas_sv2.latency.devices.command import CommandTemplate
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN, LocalPython
from nas_sv2.latency.devices.ssh import SshHost
from nas_sv2.latency.emulated.arm_cores import CORE_NAMES, RUNTIMES, check_kernels_known
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime
from nas_sv2.latency.measurements.plan import MeasurePlan, own_defaults
from nas_sv2.plain_data import MOST_TOML

PROJECT_FILE = Path("nas-sv2.toml")
BUILT_IN = ("cpu", "gpu", "arm")
"""Names that the user cannot give."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class EmulatedCore:
    """An ARM core whose latencies come from a table; see `emulated.EmulatedArm`.

    Attributes:
        core: The name of the core, such as `cortex-a55`.
        precision: The number format of the networks.
        table: A table of the user's own calibration; None for the table that is shipped.
        clock_ghz: The clock in GHz; None for the clock of a typical board.
        runtime: The runtime whose kernels are priced; LiteRT in float32 alone.
    """

    core: str = "cortex-a57"
    precision: ArmPrecision = "fp32"
    table: str | None = None
    clock_ghz: Annotated[float, Meta(gt=0, le=100)] | None = None
    runtime: ArmRuntime = "onnxruntime"

    def __post_init__(self) -> None:
        """Check the core, the runtime and the fields."""
        check_choice("core", self.core, CORE_NAMES)
        check_choice("runtime", self.runtime, RUNTIMES)
        check_fields(self)
        check_kernels_known(self.core, self.runtime, self.precision)


Place = LocalPython | SshHost | CommandTemplate | EmulatedCore

PLACES: Mapping[str, type[Place]] = {
    "local": LocalPython,
    "ssh": SshHost,
    "command": CommandTemplate,
    "emulated": EmulatedCore,
    "cuda": LocalPython,
}
KINDS = tuple(PLACES)
Mebibytes = Annotated[float, Meta(gt=0, le=2**20)]
"""A size up to a tebibyte."""
RENAMED = {"words": "command"}
FILES = {"ssh_config", "table"}
"""Keys that name files. They are looked for when a device is added, and when it is used: a device
whose file is gone hinders no other."""


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device as the user has described it.

    Attributes:
        name: The user's name for the device.
        kind: One of `KINDS`.
        place: The launcher of the device, or the emulated core.
        plan: The protocol of its measurements; None for `emulated`, which measures nothing.
        max_mib: The largest network that is sent there, in MiB; None for the default.
        file: The file that describes the device.
        shadows: The user's file, if it has a device of this name that is not used now.
    """

    name: str
    kind: str
    place: Place
    plan: MeasurePlan | None
    max_mib: float | None
    file: Path
    shadows: Path | None = None

    @property
    def origin(self) -> str:
        """The file, and the file whose device of this name is not used."""
        return f"from {self.file}" + (f", shadows yours of {self.shadows}" if self.shadows else "")

    @property
    def warning(self) -> str:
        """One line if the project's file shadows the user's device or runs a program; else empty.

        A project is often someone else's, and its file is like a Makefile.
        """
        runs = isinstance(self.place, CommandTemplate | SshHost)
        if self.file != PROJECT_FILE or not (runs or self.shadows):
            return ""
        return f"{self.name}: {self.describe()}, {self.origin}"

    def describe(self) -> str:
        """Describe place and runtime in a few words, with the programs that are run."""
        runtime = "" if self.plan is None else self.plan.runtime
        named = [runtime] if runtime not in ("", "onnxruntime") else []
        return ", ".join([self._describe_place(), *named])

    def _describe_place(self) -> str:
        match self.place:
            case SshHost(host=host, port=port, python=python, ssh_config=config):
                parts = [f"ssh {host}", *([f"port {port}"] if port else [])]
                parts += [f"ssh_config {config}"] if config else []
                return ", ".join([*parts, *([python] if python != "python3" else [])])
            case CommandTemplate(words=words):
                return f"command {shlex.join(words)}"
            case EmulatedCore(core=core, precision=precision, runtime=runtime):
                of = "" if runtime == "onnxruntime" else f" of {runtime}"
                return f"{core} {precision}, emulated from a table{of}"
            case LocalPython(python=python):
                machine = "this machine's GPU" if self.kind == "cuda" else "this machine"
                return f"{machine}, {python}"


def user_file() -> Path:
    """Return the path of the user's own file, which may not exist.

    Raises:
        StoreError: The user has no home, as in some containers.
    """
    try:
        return user_config_path("nas-sv2") / "devices.toml"
    except RuntimeError:
        raise StoreError(
            "this user has no home for a file of devices; name a folder in XDG_CONFIG_HOME, or "
            f"write the devices to {PROJECT_FILE}"
        ) from None


def _files() -> list[Path]:
    """Return the files that there may be, the project's first."""
    files = [PROJECT_FILE]
    with contextlib.suppress(StoreError):
        files.append(user_file())
    return files


def read_devices() -> dict[str, DeviceEntry]:
    """Read all devices by name; a device of the project replaces the user's of the same name.

    Raises:
        ConfigError: A file cannot be read as devices; the error names the file and the field.
    """
    projects, *own = map(_read, _files())
    users = own[0] if own else {}
    shadowing = {
        name: dataclasses.replace(entry, shadows=users[name].file) if name in users else entry
        for name, entry in projects.items()
    }
    return {**users, **shadowing}


def add_device(
    name: str, settings: Mapping[str, Any], *, file: Path, replace: bool = False
) -> DeviceEntry:
    """Write a device into `file` and keep the rest of the file, with its comments.

    Args:
        name: The name of the device.
        settings: The table of the device: `kind` and the fields of that kind. Fields that are
            None are left out.
        file: The project's or the user's file.
        replace: Whether to replace a device of that name.

    Raises:
        ConfigError: A setting is not allowed, or the name is taken.
        StoreError: The file cannot be written.
    """
    import tomlkit

    check_name(name)
    table = {key: value for key, value in settings.items() if value is not None}
    with _alone(file):
        document = _document(file)
        devices = document.setdefault("devices", tomlkit.table(is_super_table=True))
        if name in devices and not replace:
            raise ConfigError(
                "name", name, f"must be a name that {file} does not have (force overwrites it)"
            )
        entry = _device(name, table, file)
        for key in FILES & table.keys():
            if not os.path.isfile(table[key]):
                raise ConfigError(key, table[key], "must name a file that is there")
        devices[name] = table
        _write(file, tomlkit.dumps(document))
    return entry


def remove_device(name: str) -> Path:
    """Remove a device from its file and return the path of that file.

    Raises:
        ConfigError: No file has the device.
        StoreError: The file cannot be written.
    """
    import tomlkit

    file = file_of(name)
    with _alone(file):
        document = _document(file)
        document.get("devices", {}).pop(name, None)
        _write(file, tomlkit.dumps(document))
    return file


def file_of(name: str) -> Path:
    """Return the file that a device is read from.

    Raises:
        ConfigError: No file has the device, or one cannot be read as devices.
    """
    for file in _files():
        if name in _read(file):
            return file
    known = ", ".join(read_devices()) or "nothing yet; nas-sv2 device add"
    raise ConfigError("name", name, f"must be a device that was added: {known}")


def check_name(name: str) -> None:
    """Check that a text can be the name of a device.

    Raises:
        ConfigError: The text has other characters, is too long or is a built-in name.
    """
    if not NAME.fullmatch(name):
        raise ConfigError("name", name, "must be letters, digits, '-', '_' and '.', at most 64")
    if name.lower() in BUILT_IN:
        raise ConfigError(
            "name", name, f"must be another name: {', '.join(BUILT_IN)} are built in"
        )


def _read(file: Path) -> dict[str, DeviceEntry]:
    try:
        content = read_bounded(file, MOST_TOML)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            "devices", str(file), f"must be a TOML file that can be read ({error.strerror})"
        ) from error
    document: Any = parse_document(file, content)
    for key in document:
        if key != "devices":
            raise ConfigError(str(file), key, "must have no key but devices")
    devices = document.get("devices", {})
    if not isinstance(devices, dict):
        raise ConfigError(f"{file}: devices", devices, "must be tables, as [devices.NAME]")
    found = {}
    for name, table in devices.items():
        try:
            check_name(name)
        except ConfigError as error:
            raise ConfigError(f"{file}: devices", name, error.sentence) from error
        found[name] = _entry(name, table, file)
    return found


def _entry(name: str, table: Any, file: Path) -> DeviceEntry:
    """Read a device from its table; an error names the file and the field."""
    where = f"{file}: devices.{name}"
    if not isinstance(table, dict):
        raise ConfigError(where, table, "must be a table with a kind")
    return name_errors(f"{where}.", lambda fields: _device(name, fields, file), table)


def _device(name: str, table: Mapping[str, Any], file: Path) -> DeviceEntry:
    kind: Any = table.get("kind")
    plan, max_mib = table.get("plan"), table.get("max_mib")
    check_choice("kind", kind, tuple(KINDS))
    place = PLACES[kind]
    # The field `words` is the key `command` in a table, and errors name the key.
    keys = {RENAMED.get(field.name, field.name): field for field in dataclasses.fields(place)}
    allowed = [*keys, *([] if kind == "emulated" else ["plan", "max_mib"])]
    for key, value in table.items():
        if key not in ("kind", *allowed):
            sentence = f"must be left out: the kind {kind} has {', '.join(allowed)}"
            raise ConfigError(key, value, sentence)
    for key, field in keys.items():
        if field.default is dataclasses.MISSING and key not in table:
            raise ConfigError(key, None, f"must be given: the kind {kind} needs it")
    settings = {field.name: _frozen(table[k]) for k, field in keys.items() if k in table}
    check_value("max_mib", max_mib, Mebibytes | None)
    measured = None if kind == "emulated" else _plan(kind, {} if plan is None else plan)
    return DeviceEntry(name, kind, place(**settings), measured, max_mib, file)


def _plan(kind: str, overrides: Any) -> MeasurePlan:
    """Return the default plan of the processor with the user's changes."""
    if not isinstance(overrides, dict):
        raise ConfigError("plan", overrides, "must be a table")
    on_gpu = kind == "cuda" or overrides.get("runtime") == "torch"
    base = GPU_PLAN if on_gpu else CPU_PLAN
    own = own_defaults(overrides.get("runtime"))
    return MeasurePlan.from_json({**base.to_json(), **own, **overrides})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _alone(file: Path) -> contextlib.AbstractContextManager[None]:
    """Keep other processes from writing the file meanwhile."""
    lock = FileLock.of(f"file {file.resolve()}")
    return Exclusive(str(file), (lock,), patience_s=10.0).held(10.0)


def _document(file: Path) -> Any:
    import tomlkit

    _read(file)  # the present content must be valid before anything is written
    return tomlkit.parse(file.read_text(encoding="utf-8")) if file.exists() else tomlkit.document()


def _write(file: Path, text: str) -> None:
    """Write the file completely or not at all: a full disk leaves the old file."""
    try:
        file.resolve().parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())
    except OSError as error:
        raise StoreError(f"{file}: cannot be written: {error.strerror}") from error
