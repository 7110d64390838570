"""`guidelines`: the paper's controlled experiments, and ours, on the user's own device."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    AsJson,
    Storage,
    output_folder,
    print_json,
    print_notes,
)
from nas_sv2.errors import ConfigError

PICTURE, FURTHER_PICTURE = "guidelines.png", "guidelines_further.png"


def guidelines(
    target: Annotated[str, typer.Option(help="A target: arm, cpu, gpu or a device.")],
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("."),
    fresh: Annotated[bool, typer.Option(help="Measure even what is stored.")] = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Run the experiments behind guidelines G1-G4 on a device, and further ones of our own."""
    from rich.console import Console

    from nas_sv2.latency.guidelines.experiment_run import run_experiments, times_of, with_one_image
    from nas_sv2.latency.guidelines.profiling import profile_device
    from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.targets import open_target, target_names
    from nas_sv2.show.guideline_tables import (
        experiment_table,
        experiments_data,
        run_notes,
        table_notes,
    )
    from nas_sv2.show.tables import output
    from nas_sv2.studies.paper.guideline_picture import draw_further, draw_guidelines

    if len(target_names(target)) > 1:
        raise ConfigError("target", target, "must be one target")
    folder = output_folder(out)
    with (
        closing(MeasurementStore.open(storage)) as store,
        Console(stderr=True).status(f"opening {target}") as status,
        closing(open_target(target, store=store, fresh=fresh, told=status.update)) as opened,
    ):

        def progress(what: str, done: int, total: int) -> None:
            status.update(f"{target}: table {done + 1} of {total}: {what}")

        asked = with_one_image(opened)
        tables = run_experiments(asked, progress)
        times = times_of(tables)
        # The profile answers for the target as a search uses it, so with its own batch.
        own = times if asked == opened else times_of(run_experiments(opened, progress))
        profile = profile_device(opened, own, status.update)
        ProfileStore.beside(store).save(DeviceKey.of(opened), profile)
    files = [str(folder / PICTURE), str(folder / FURTHER_PICTURE)]
    draw_guidelines(tables, folder / PICTURE)
    draw_further(tables, folder / FURTHER_PICTURE)
    if as_json:
        latency = times[0].latency
        print_json(
            {
                "target": target,
                "device": latency.device,
                "provenance": latency.provenance,
                "tables": experiments_data(tables),
                "profile": {"digest": profile.digest, "accuracy": asdict(profile.accuracy)},
                "files": files,
            }
        )
        return
    console = output()
    for timed in tables:
        print(f"{timed.table.name}: {timed.table.title}")
        console.print(experiment_table(timed))
        print_notes(table_notes(timed))
        print()
    print_notes(run_notes(tables))
    print(f"guideline profile {profile.digest}, {profile.accuracy.describe()}; searches use it")
    print("drawn: " + ", ".join(files))
