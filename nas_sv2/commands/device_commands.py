"""`nas-sv2 devices`: name devices, look at them, try them out."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from nas_sv2.latency.targets.device_file import DeviceEntry

devices_app = typer.Typer(help="List, add, test and remove devices.")

AsJson = Annotated[bool, typer.Option("--json", help="Plain data for programs.")]
Name = Annotated[str, typer.Argument(help="What you call it; then also --target NAME.")]


@devices_app.callback(invoke_without_command=True)
def devices(context: typer.Context, as_json: AsJson = False) -> None:
    """List, add, test and remove devices; alone, it lists."""
    if context.invoked_subcommand is None:
        list_devices(as_json)


@devices_app.command("list")
def list_devices(as_json: AsJson = False) -> None:
    """List the targets: where latency can be had, and how."""
    from nas_sv2.latency.targets.targets import describe_targets
    from nas_sv2.show.tables import output, targets_table

    infos = describe_targets()
    if as_json:
        print(json.dumps([dataclasses.asdict(info) for info in infos]))
    else:
        output().print(targets_table(infos))


@devices_app.command("add")
def add(
    name: Name,
    ssh: Annotated[
        str | None, typer.Option(help="user@host, or an alias of your ssh configuration.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="With --ssh.")] = None,
    ssh_config: Annotated[
        str | None, typer.Option(help="With --ssh: a file in place of your configuration.")
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="A command that starts python3: \"adb shell '{remote}'\"."),
    ] = None,
    emulated: Annotated[
        str | None, typer.Option(help="An ARM core that is priced from a table: cortex-a55.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="With --emulated: fp32 or int8.")] = None,
    table: Annotated[
        str | None, typer.Option(help="With --emulated: a table of devices calibrate or refit.")
    ] = None,
    clock_ghz: Annotated[
        float | None, typer.Option(help="With --emulated: the clock of your core.")
    ] = None,
    cuda: Annotated[bool, typer.Option("--cuda", help="This machine's GPU.")] = False,
    local: Annotated[bool, typer.Option("--local", help="This machine's CPU.")] = False,
    python: Annotated[
        str | None, typer.Option(help="The python3 there, a name or a path.")
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=VALUE of how it is measured, repeatable: threads=4."),
    ] = None,
    max_mib: Annotated[
        float | None, typer.Option(help="The largest network that is sent there.")
    ] = None,
    project: Annotated[
        bool, typer.Option("--project", help="Write nas-sv2.toml here, not your own file.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over one of that name.")] = False,
) -> None:
    """Name a device; nothing is contacted."""
    from nas_sv2.latency.devices.command import command_words
    from nas_sv2.latency.targets.device_file import PROJECT_FILE, add_device, user_file

    kinds = {
        "ssh": ssh is not None,
        "command": command is not None,
        "emulated": emulated is not None,
        "cuda": cuda,
        "local": local,
    }
    given = [kind for kind, is_given in kinds.items() if is_given]
    if len(given) != 1:
        allowed = "must be exactly one of ssh, command, core, cuda, local"
        raise ConfigError("kind", " ".join(f"--{kind}" for kind in given), allowed)
    settings: dict[str, Any] = {
        "kind": given[0],
        "host": ssh,
        "port": port,
        "ssh_config": None if ssh_config is None else str(Path(ssh_config).absolute()),
        "command": None if command is None else command_words(command),
        "core": emulated,
        "precision": precision,
        "table": None if table is None else str(Path(table).absolute()),
        "clock_ghz": clock_ghz,
        "python": python,
        "max_mib": max_mib,
        "plan": dict(map(_plan_field, plan)) if plan else None,
    }
    file = PROJECT_FILE if project or PROJECT_FILE.exists() else user_file()
    entry = add_device(name, settings, file=file, replace=force)
    print(f"{name} is {entry.describe()}, in {file}")
    print(f"nas-sv2 devices test {name}")


@devices_app.command("test")
def test(
    name: Name,
    storage: Annotated[
        str | None, typer.Option(help="Database in which other machines see that it is in use.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a device out: what is there, what it computes, how long it takes."""
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.device_file import EmulatedCore
    from nas_sv2.latency.targets.open_device import device_of
    from nas_sv2.latency.targets.try_out import check_device

    entry = _named(name)
    if isinstance(entry.place, EmulatedCore) or entry.plan is None:
        _price(name)
        return
    store = None if storage is None else MeasurementStore.open(storage)
    device = device_of(entry, store, _say)
    passed = True
    try:
        for check in check_device(entry, entry.place, entry.plan, device):
            passed = passed and check.passed
            if as_json:
                print(json.dumps(dataclasses.asdict(check)), flush=True)
            else:
                result = "ok    " if check.passed else "failed"
                print(f"{check.name:8} {result} {check.seconds:6.2f} s  {check.text}", flush=True)
    finally:
        device.close()
        if store is not None:
            store.close()
    if not passed:
        raise DeviceError(f"{name} cannot be used as it is")


@devices_app.command("remove")
def remove(name: Name) -> None:
    """Forget a device; its measurements stay in the database."""
    from nas_sv2.latency.targets.device_file import remove_device

    print(f"{name} is no longer in {remove_device(name)}")


def _named(name: str) -> "DeviceEntry":
    from nas_sv2.latency.targets.device_file import read_devices

    known = read_devices()
    if name not in known:
        raise ConfigError(
            "name", name, f"must be a device that was added: {', '.join(known) or 'none yet'}"
        )
    return known[name]


def _price(name: str) -> None:
    from nas_sv2.latency.targets.targets import open_target
    from nas_sv2.latency.targets.try_out import NETWORK
    from nas_sv2.space.units.reference import reference

    latency = open_target(name).estimate(reference(NETWORK))
    print(f"{NETWORK}: {latency.ms:.3f} ms, {latency.provenance}; {latency.note}")


def _plan_field(text: str) -> tuple[str, Any]:
    """A field of the plan, its value as in TOML; what is none there is a word."""
    field, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            "plan", text, "must have the form FIELD=VALUE, as threads=4 or affinity=[4,5]"
        )
    try:
        return field, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return field, value


def _say(line: str) -> None:
    typer.echo(line, err=True)
