"""`measure`: the latency of networks on targets, and their order."""

from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    Affinity,
    Archs,
    AsJson,
    Batch,
    Fresh,
    Precision,
    RequireMeasured,
    SeveralTargets,
    Storage,
    Threads,
    open_database,
    plan_changes,
    print_notes,
    waiting,
)
from nas_sv2.show.terminal import say, say_json


def measure(
    archs: Archs,
    target: SeveralTargets,
    fresh: Fresh = False,
    sustained: Annotated[
        float | None,
        typer.Option(
            "--sustained",
            help="Run for so many minutes first: the latency of a device that is hot.",
        ),
    ] = None,
    precision: Precision = None,
    threads: Threads = None,
    batch: Batch = None,
    affinity: Affinity = None,
    require_measured: RequireMeasured = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Measure networks; of several, print which are faster and which are tied.

    A single network is read from the database if it was measured before. Several are measured
    together, in alternation.
    """
    from nas_sv2.api.devices import target_names
    from nas_sv2.api.measuring import measure as compare
    from nas_sv2.show.console import output
    from nas_sv2.show.measure_tables import latency_rows, order_notes, order_table
    from nas_sv2.show.tables import latency_notes, latency_table

    changes = plan_changes(precision, threads, batch, affinity, sustained)
    found, db = [], open_database(storage)
    for name in target_names(target):
        with waiting(f"measuring on {name}") as update:
            found.append(
                compare(
                    archs,
                    target=name,
                    storage=db,
                    fresh=fresh,
                    require_measured=require_measured,
                    plan=changes,
                    notify=update,
                )
            )
    if as_json:
        say_json([row for comparison in found for row in comparison.to_json()])
        return
    rows = [row for comparison in found for row in latency_rows(comparison)]
    output().print(latency_table(rows))
    print_notes(latency_notes(rows))
    for comparison in found:
        if comparison.orders is not None:
            say()
            output().print(order_table(comparison.target, comparison.names, comparison.orders))
            print_notes(order_notes(comparison.names, comparison.orders))
