"""`profile`: the paper's figure 2 for any network, on the user's own device."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import ARCH_HELP, STORAGE, AsJson, Storage, print_json, print_notes
from nas_sv2.errors import ConfigError

BY = ("kind", "block", "op")


def profile(
    archs: Annotated[list[str], typer.Argument(help=ARCH_HELP, metavar="ARCH...")],
    target: Annotated[str, typer.Option(help="A target: arm, cpu, gpu or a device.")],
    by: Annotated[
        str | None, typer.Option(help="kind, block or op; by kind and by block if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A picture to write, PNG.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print where the time of networks goes on a target: by kind of kernel and by block."""
    from rich.console import Console

    from nas_sv2.latency.breakdown.profiled import profiles_of
    from nas_sv2.latency.measurements.head_to_head import check_number
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.targets import open_target, target_names
    from nas_sv2.show import profile_tables as tables
    from nas_sv2.show.tables import output
    from nas_sv2.studies.storage.named_networks import find_network

    if by is not None and by not in BY:
        raise ConfigError("by", by, "must be one of " + ", ".join(BY))
    if out is not None and not out.parent.is_dir():
        raise ConfigError("out", str(out), "must name a file in a folder that exists")
    if len(target_names(target)) > 1:
        raise ConfigError("target", target, "must be one target")
    check_number(len(archs))
    named = [find_network(text, storage) for text in archs]
    with (
        closing(MeasurementStore.open(storage)) as store,
        Console(stderr=True).status(f"profiling on {target}") as status,
        closing(open_target(target, store=store, told=status.update)) as opened,
    ):
        profiles = profiles_of(opened, [one.network for one in named])
    found = list(zip((one.name for one in named), profiles, strict=True))
    if out is not None:
        from nas_sv2.studies.pages.profile_picture import draw_profiles

        draw_profiles(found, out)
    if as_json:
        print_json(
            [
                tables.profile_data(one.name, target, one.network.digest, profiled)
                for one, profiled in zip(named, profiles, strict=True)
            ]
        )
        return
    shown = {"kind": tables.kind_table, "block": tables.block_table, "op": tables.kernel_table}
    console = output()
    for name, profiled in found:
        for which in BY[:2] if by is None else [by]:
            console.print(shown[which](name, profiled))
            print()
    print(tables.device_note(profiles[0]))
    for name, profiled in found:
        print_notes(tables.profile_notes(name, profiled))
    if out is not None:
        print(f"drawn: {out}")
