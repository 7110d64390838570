"""The devices that the user has named, in a TOML file that people read and write.

`nas-sv2.toml` in the current directory belongs to a project; `devices.toml` in the user's
configuration directory to the user. Both are read, and the project's come first. They hold
addresses and commands, and no secret: those are ssh's.
"""

import contextlib
import dataclasses
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from platformdirs import user_config_path

from nas_sv2.database.locks import Exclusive, FileLock
from nas_sv2.documents import AboveZero, check_choice, check_fields, check_value, name_errors
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.files import write_whole
from nas_sv2.latency.devices.command import CommandTemplate
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN, LocalPython
from nas_sv2.latency.devices.ssh import SshHost
from nas_sv2.latency.emulated.arm_cores import CORE_NAMES
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.measurements.plan import MeasurePlan

PROJECT_FILE = Path("nas-sv2.toml")
BUILT_IN = ("cpu", "gpu", "arm")
"""Names that are not the user's to give."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class EmulatedCore:
    """An ARM core that is priced from a table; see `emulated.EmulatedArm`.

    Attributes:
        core: Its name, as `cortex-a55`.
        precision: What runs there.
        table: A table of the user's own calibration; None for the one that is shipped.
        clock_ghz: Its clock; None for that of the typical board.
    """

    core: str = "cortex-a57"
    precision: ArmPrecision = "fp32"
    table: str | None = None
    clock_ghz: Annotated[float, Meta(gt=0, le=100)] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be priced."""
        check_choice("core", self.core, CORE_NAMES)
        check_fields(self)


Place = LocalPython | SshHost | CommandTemplate | EmulatedCore

PLACES: Mapping[str, type[Place]] = {
    "local": LocalPython,
    "ssh": SshHost,
    "command": CommandTemplate,
    "emulated": EmulatedCore,
    "cuda": LocalPython,
}
KINDS = tuple(PLACES)
RENAMED = {"words": "command"}


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device as the user has described it.

    Attributes:
        name: What the user calls it.
        kind: One of `KINDS`.
        place: Where it is.
        plan: How it is measured; None for `emulated`, which measures nothing.
        max_mib: The largest network that is sent there; None for the default.
        file: Where it is described.
    """

    name: str
    kind: str
    place: Place
    plan: MeasurePlan | None
    max_mib: float | None
    file: Path

    def describe(self) -> str:
        """Kind and place in a few words."""
        match self.place:
            case SshHost(host=host, port=port):
                return f"ssh {host}" + (f", port {port}" if port else "")
            case CommandTemplate(words=words):
                return f"command {shlex.join(words)}"
            case EmulatedCore(core=core, precision=precision):
                return f"{core} {precision}, emulated from a table"
            case LocalPython(python=python):
                machine = "this machine's GPU" if self.kind == "cuda" else "this machine"
                return f"{machine}, {python}"


def user_file() -> Path:
    """The user's own file, whether it is there or not."""
    return user_config_path("nas-sv2") / "devices.toml"


def read_devices() -> dict[str, DeviceEntry]:
    """All devices by name; the project's before the user's.

    Raises:
        ConfigError: A file cannot be read as devices; names file, field and what is allowed.
    """
    return {**_read(user_file()), **_read(PROJECT_FILE)}


def add_device(
    name: str, settings: Mapping[str, Any], *, file: Path, replace: bool = False
) -> DeviceEntry:
    """Write a device into `file`; what else is there stays as it is, comments too.

    Args:
        name: For the device.
        settings: Its table: `kind` and what that kind takes; those that are None are left out.
        file: The project's or the user's.
        replace: Write over one of that name.

    Raises:
        ConfigError: It cannot be meant, or the name is taken.
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
                "name", name, f"must be a name that {file} does not have (force=True overwrites)"
            )
        entry = _entry(name, table, file)
        devices[name] = table
        _write(file, tomlkit.dumps(document))
    return entry


def remove_device(name: str) -> Path:
    """Take a device out of the file that it is in; gives that file.

    Raises:
        ConfigError: No file has it.
        StoreError: The file cannot be written.
    """
    import tomlkit

    for file in (PROJECT_FILE, user_file()):
        with _alone(file):
            document = _document(file)
            if name in document.get("devices", {}):
                del document["devices"][name]
                _write(file, tomlkit.dumps(document))
                return file
    known = ", ".join(read_devices()) or "nothing yet; nas-sv2 device add"
    raise ConfigError("name", name, f"must be a device that was added: {known}")


def check_name(name: str) -> None:
    """Refuse what is no name for a device.

    Raises:
        ConfigError: It is not.
    """
    if not NAME.fullmatch(name):
        raise ConfigError("name", name, "must be letters, digits, '-', '_' and '.', at most 64")
    if name.lower() in BUILT_IN:
        raise ConfigError(
            "name", name, f"must be another name: {', '.join(BUILT_IN)} are built in"
        )


def _read(file: Path) -> dict[str, DeviceEntry]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            "devices", str(file), f"must be a TOML file that can be read ({error})"
        ) from error
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
    """The device of a table; an error names the file and the field."""
    where = f"{file}: devices.{name}"
    if not isinstance(table, dict):
        raise ConfigError(where, table, "must be a table with a kind")
    return name_errors(f"{where}.", lambda fields: _device(name, fields, file), table)


def _device(name: str, table: Mapping[str, Any], file: Path) -> DeviceEntry:
    kind: Any = table.get("kind")
    plan, max_mib = table.get("plan"), table.get("max_mib")
    check_choice("kind", kind, tuple(KINDS))
    place = PLACES[kind]
    # A table says `command`; the words are called that as long as they are in it.
    keys = {RENAMED.get(field.name, field.name): field for field in dataclasses.fields(place)}
    allowed = ["kind", *keys, *([] if kind == "emulated" else ["plan", "max_mib"])]
    for key in table:
        check_choice("key", key, tuple(allowed))
    for key, field in keys.items():
        if field.default is dataclasses.MISSING and key not in table:
            raise ConfigError(key, None, f"must be given: the kind {kind} needs it")
    settings = {field.name: _frozen(table[k]) for k, field in keys.items() if k in table}
    check_value("max_mib", max_mib, AboveZero | None)
    measured = None if kind == "emulated" else _plan(kind, {} if plan is None else plan)
    return DeviceEntry(name, kind, place(**settings), measured, max_mib, file)


def _plan(kind: str, overrides: Any) -> MeasurePlan:
    """The plan of the processor that is used, with what the user wants otherwise."""
    if not isinstance(overrides, dict):
        raise ConfigError("plan", overrides, "must be a table")
    on_gpu = kind == "cuda" or overrides.get("runtime") == "torch"
    base = GPU_PLAN if on_gpu else CPU_PLAN
    return MeasurePlan.from_json({**base.to_json(), **overrides})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _alone(file: Path) -> contextlib.AbstractContextManager[None]:
    """Nobody else writes the file meanwhile."""
    lock = FileLock.of(f"file {file.resolve()}")
    return Exclusive(str(file), (lock,), patience_s=10.0).held(10.0)


def _document(file: Path) -> Any:
    import tomlkit

    _read(file)  # what is there must be understood before anything is written
    return tomlkit.parse(file.read_text(encoding="utf-8")) if file.exists() else tomlkit.document()


def _write(file: Path, text: str) -> None:
    """Write all or nothing: a full disk leaves the old file."""
    try:
        file.resolve().parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())
    except OSError as error:
        raise StoreError(f"{file}: cannot be written: {error.strerror}") from error
