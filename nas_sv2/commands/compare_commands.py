"""`compare`: the paper's main table and first figure, on the user's own device."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    ARCH_HELP,
    STORAGE,
    AsJson,
    Storage,
    output_folder,
    print_json,
    print_notes,
)
from nas_sv2.errors import ConfigError

PICTURE, PAGE = "compare.png", "compare.html"


def compare(
    target: Annotated[str, typer.Option(help="A target: arm, cpu, gpu or a device.")],
    level: Annotated[str, typer.Option(help="40M, 140M, 300M, 500M or all.")] = "all",
    vs: Annotated[
        list[str] | None,
        typer.Option(help="A network of yours among them, repeatable. " + ARCH_HELP),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("."),
    fresh: Annotated[bool, typer.Option(help="Measure even what is stored.")] = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Time the paper's networks head to head on a device, beside what the paper published."""
    from rich.console import Console

    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.targets import open_target, target_names
    from nas_sv2.show import compare_tables as tables
    from nas_sv2.show.tables import output
    from nas_sv2.studies.paper import comparison_run
    from nas_sv2.studies.paper.comparison_orders import inversions
    from nas_sv2.studies.paper.comparison_page import write_page
    from nas_sv2.studies.paper.comparison_picture import draw_comparison
    from nas_sv2.studies.paper.published_figures import levels_of
    from nas_sv2.studies.storage.named_networks import find_network

    if len(target_names(target)) > 1:
        raise ConfigError("target", target, "must be one target")
    levels = levels_of(level)
    others = [find_network(text, storage) for text in vs or []]
    output_folder(out)
    with (
        closing(MeasurementStore.open(storage)) as store,
        Console(stderr=True).status(f"comparing on {target}") as status,
        closing(open_target(target, store=store, fresh=fresh, told=status.update)) as opened,
    ):

        def begun(of_level: str) -> None:
            status.update(f"{target}: the networks of the {of_level} level")

        found = comparison_run.compare(opened, levels, others, begun)
    draw_comparison(found, out / PICTURE)
    write_page(found, out / PAGE)
    files = [str(out / PICTURE), str(out / PAGE)]
    if as_json:
        print_json({**tables.comparison_data(found), "files": files})
        return
    console = output()
    for one in levels:
        console.print(tables.level_table(found, one))
        print()
    print_notes(tables.comparison_notes(found))
    print()
    wrong = inversions(found)
    if wrong:
        console.print(tables.inversion_table(wrong))
    print_notes(tables.inversion_notes(found, wrong))
    print()
    console.print(tables.agreement_table(found))
    print_notes(tables.agreement_notes(found))
    print("drawn: " + ", ".join(files))
