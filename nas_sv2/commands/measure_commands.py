"""The commands that measure: `measure`, `doctor`, and `measurements` to move what was measured."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import ARCH_HELP, STORAGE, AsJson, Storage, print_json, print_notes
from nas_sv2.errors import ConfigError

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.exchange import Figures
    from nas_sv2.latency.measurements.head_to_head import Orders
    from nas_sv2.latency.measurements.measurement import Latency
    from nas_sv2.latency.measurements.store import Key, MeasurementStore
    from nas_sv2.latency.targets.targets import Target
    from nas_sv2.studies.storage.named_networks import Named

MOST_MINUTES = 24 * 60
PRECISIONS = ("fp32", "int8", "fp16")

Targets = Annotated[str, typer.Option("--target", help="A target, or several as arm,cpu.")]
OneTarget = Annotated[str, typer.Option("--target", help="A target that is measured.")]
Precision = Annotated[
    str | None, typer.Option(help="fp32; int8 with onnxruntime on a CPU, fp16 on a GPU.")
]
Threads = Annotated[int | None, typer.Option(help="Threads within an operator.")]
Batch = Annotated[int | None, typer.Option(help="Images a run.")]
Affinity = Annotated[str | None, typer.Option(help="Cores to keep to, as 0,1.")]

measurements = typer.Typer(
    help="Move measurements between databases, and compare them.", no_args_is_help=True
)


def measure(
    archs: Annotated[list[str], typer.Argument(help=ARCH_HELP, metavar="ARCH...")],
    target: Targets,
    fresh: Annotated[bool, typer.Option(help="Measure even what is stored.")] = False,
    sustained: Annotated[
        float | None,
        typer.Option(help="Run so many minutes first: the figure of a device that is hot."),
    ] = None,
    precision: Precision = None,
    threads: Threads = None,
    batch: Batch = None,
    affinity: Affinity = None,
    require_measured: Annotated[
        bool, typer.Option(help="Refuse targets whose latency is not measured.")
    ] = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print the latency of networks, and of several which are faster: settled, or a tie.

    One network is answered from the database if it was measured before; several are measured
    together, in alternation.
    """
    from nas_sv2.latency.measurements.head_to_head import check_number
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.targets import open_target, target_names
    from nas_sv2.show.measure_tables import order_notes, order_table
    from nas_sv2.show.tables import latency_notes, latency_table, output
    from nas_sv2.studies.storage.named_networks import find_network

    changes = _changes(precision, threads, batch, affinity, sustained)
    names = target_names(target)
    check_number(len(archs))
    networks = [find_network(text, storage) for text in archs]
    found: list[_OnTarget] = []
    with closing(MeasurementStore.open(storage)) as store:
        for name in names:
            with _status(f"measuring on {name}") as status:
                opened = open_target(
                    name,
                    store=store,
                    require_measured=require_measured,
                    fresh=fresh,
                    told=status.update,
                )
                with closing(opened):
                    found.append(_measured(_planned(opened, changes), networks))
    if as_json:
        print_json([row for on_target in found for row in on_target.data()])
        return
    rows = [row for on_target in found for row in on_target.rows()]
    output().print(latency_table(rows))
    print_notes(latency_notes(rows))
    for on_target in found:
        if on_target.orders is not None:
            print()
            labels = [network.name for network in networks]
            output().print(order_table(on_target.name, labels, on_target.orders))
            print_notes(order_notes(labels, on_target.orders))


def doctor(
    target: OneTarget,
    quick: Annotated[
        bool, typer.Option(help="Three sessions in a row, for a first look.")
    ] = False,
    sessions: Annotated[int | None, typer.Option(help="How many sessions; 5 if left out.")] = None,
    pause: Annotated[
        float | None, typer.Option(help="Seconds between them; 5 if left out.")
    ] = None,
    precision: Precision = None,
    threads: Threads = None,
    batch: Batch = None,
    affinity: Affinity = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Grade a device: how far its figures can be trusted, and what to fix; exit 1 if poor."""
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets import doctor as doctors
    from nas_sv2.latency.targets.measured_target import MeasuredTarget
    from nas_sv2.latency.targets.targets import open_target, target_names
    from nas_sv2.show.measure_tables import grade_notes, grade_table
    from nas_sv2.show.tables import output

    changes = _changes(precision, threads, batch, affinity)
    usual = (
        (doctors.QUICK_SESSIONS, doctors.QUICK_PAUSE_S)
        if quick
        else (doctors.SESSIONS, doctors.PAUSE_S)
    )
    count = usual[0] if sessions is None else sessions
    pause_s = usual[1] if pause is None else pause
    doctors.check_request(count, pause_s)
    if len(target_names(target)) > 1:
        raise ConfigError("target", target, "must be one target")
    with (
        closing(MeasurementStore.open(storage)) as store,
        _status(f"examining {target}") as status,
        closing(open_target(target, store=store, told=status.update)) as opened,
    ):
        planned = _planned(opened, changes)
        if not isinstance(planned, MeasuredTarget):
            allowed = f"a measured target; figures of this one are {opened.provenance}"
            raise ConfigError("target", target, f"must be {allowed}, so there is nothing to grade")

        def progress(done: int, total: int) -> None:
            status.update(f"{target}: session {done + 1} of {total}")

        grade = doctors.examine(planned, count, pause_s, progress)
    if as_json:
        print_json({"target": target, **grade.to_json()})
    else:
        output().print(grade_table(target, grade))
        print_notes(grade_notes(grade))
    if grade.grade == "poor":
        raise typer.Exit(1)


@measurements.command("export")
def export_measurements(
    storage: Storage = STORAGE,
    out: Annotated[Path | None, typer.Option(help="A new file; else standard output.")] = None,
) -> None:
    """Write all measurements of a database, with every run, as JSON lines."""
    from nas_sv2.latency.measurements.exchange import Counts, export_lines, write_file

    counts = Counts()
    with _existing(storage) as store:
        if out is None:
            for line in export_lines(store, counts):
                print(line)
        else:
            write_file(export_lines(store, counts), out)
    print(f"{_count(counts.taken)} written{_skipped(counts.skipped)}", file=sys.stderr)


@measurements.command("merge")
def merge_measurements(
    file: Annotated[Path, typer.Argument(help="A file that `export` wrote.")],
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Add the measurements of a file that the database lacks; all of them or, at a fault, none."""
    from nas_sv2.latency.measurements.exchange import check_file, merge
    from nas_sv2.latency.measurements.store import MeasurementStore

    check_file(file)
    with closing(MeasurementStore.open(storage)) as store:
        counts = merge(file, store)
    if as_json:
        print_json({"added": counts.taken, "known": counts.known})
    else:
        print(f"{_count(counts.taken)} added, {counts.known} known already")


@measurements.command("diff")
def diff_measurements(
    one: Annotated[str, typer.Argument(help="A file that `export` wrote, or a database URL.")],
    other: Annotated[str, typer.Argument(help="The same.")],
    as_json: AsJson = False,
) -> None:
    """Compare two sets of measurements: equal or different, and what cannot be compared."""
    from nas_sv2.latency.measurements.exchange import difference
    from nas_sv2.show.measure_tables import difference_data, difference_notes, difference_table
    from nas_sv2.show.tables import output

    found = difference(_figures(one), _figures(other))
    if as_json:
        print_json(difference_data(found))
        return
    if found.compared:
        output().print(difference_table(found))
    print_notes(difference_notes(found))


def _figures(source: str) -> "Mapping[Key, Figures]":
    """The newest figures of a database or file."""
    from nas_sv2.latency.measurements.exchange import (
        Counts,
        figures_of,
        read_file,
        stored_measurements,
    )

    counts = Counts()
    if "://" in source:
        with _existing(source) as store:
            found = figures_of(stored_measurements(store, counts))
    else:
        found = figures_of(measurement for _, measurement in read_file(Path(source)))
    if counts.skipped:
        print(f"{source}{_skipped(counts.skipped)}", file=sys.stderr)
    return found


@contextmanager
def _existing(storage: str) -> "Iterator[MeasurementStore]":
    """The store of a database that is there; reading must not make one."""
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.studies.storage.study import require_database

    require_database(storage)
    with closing(MeasurementStore.open(storage)) as store:
        yield store


def _count(number: int) -> str:
    return f"{number} measurement{'' if number == 1 else 's'}"


def _skipped(number: int) -> str:
    return f", {number} of another version or damaged left out" if number else ""


@dataclass(frozen=True, slots=True)
class _OnTarget:
    """What the networks take on one target, and their order where there are several."""

    name: str
    networks: list["Named"]
    latencies: list["Latency"]
    orders: "Orders | None"

    def rows(self) -> list[tuple[str, str, "Latency"]]:
        """For the table."""
        named = zip(self.networks, self.latencies, strict=True)
        return [(network.name, self.name, latency) for network, latency in named]

    def data(self) -> list[dict[str, Any]]:
        """For programs: a network with its latency, rank and standing against the others."""
        return [
            {
                "name": network.name,
                "digest": network.network.digest,
                "target": self.name,
                **self.latencies[index].to_json(),
                "rank": 1 if self.orders is None else self.orders.ranking.index(index) + 1,
                "rule": None if self.orders is None else self.orders.rule,
                "against": self._against(index),
            }
            for index, network in enumerate(self.networks)
        ]

    def _against(self, index: int) -> list[dict[str, Any]]:
        if self.orders is None:
            return []
        return [
            {
                "name": other.name,
                "digest": other.network.digest,
                "is": "slower" if pair.faster == index else "faster",
                "settled": pair.settled,
                "slower_to_faster": pair.ratio,
                "slower_to_faster_ci": None if pair.ratio_ci is None else list(pair.ratio_ci),
            }
            for pair in self.orders.pairs
            if index in (pair.faster, pair.slower)
            for other in [self.networks[pair.faster + pair.slower - index]]
        ]


def _measured(target: "Target", networks: list["Named"]) -> _OnTarget:
    """One network from the store or measured; several, measured together now."""
    from nas_sv2.latency.measurements.head_to_head import emulated_orders, orders_of
    from nas_sv2.latency.targets.measured_target import MeasuredTarget

    architectures = [network.network for network in networks]
    if isinstance(target, MeasuredTarget) and len(networks) > 1:
        session = target.measure_together(architectures)
        latencies = [measurement.latency(target.name) for measurement in session]
        return _OnTarget(target.name, networks, latencies, orders_of(session))
    latencies = [target.estimate(architecture) for architecture in architectures]
    orders = emulated_orders(latencies) if len(networks) > 1 else None
    return _OnTarget(target.name, networks, latencies, orders)


def _changes(
    precision: str | None,
    threads: int | None,
    batch: int | None,
    affinity: str | None,
    sustained: float | None = None,
) -> dict[str, Any]:
    """The fields of a target's plan that the user set, by name."""
    for option, number in (("threads", threads), ("batch", batch)):
        if number is not None and number < 1:
            raise ConfigError(option, number, "must be a whole number, at least 1")
    if precision is not None and precision not in PRECISIONS:
        raise ConfigError("precision", precision, "must be one of " + ", ".join(PRECISIONS))
    changes = {
        "precision": precision,
        "threads": threads,
        "batch": batch,
        "affinity": None if affinity is None else _cores(affinity),
        "heat_s": None if sustained is None else _heat_s(sustained),
    }
    return {name: value for name, value in changes.items() if value is not None}


def _cores(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and word.isascii() for word in words):
        raise ConfigError("affinity", text, "must be numbers of cores, as 0,1")
    return tuple(map(int, words))


def _heat_s(minutes: float) -> float:
    if not 0 < minutes <= MOST_MINUTES:
        raise ConfigError(
            "sustained", minutes, f"must be above 0 minutes and at most {MOST_MINUTES}"
        )
    return 60 * minutes


def _planned(target: "Target", changes: dict[str, Any]) -> "Target":
    """The target with its plan changed.

    Raises:
        ConfigError: The plan does not allow it, or nothing runs there.
    """
    from nas_sv2.latency.targets.measured_target import MeasuredTarget

    if not changes:
        return target
    if not isinstance(target, MeasuredTarget):
        field, value = next(iter(changes.items()))
        allowed = f"must not be set here: figures of {target.name} are {target.provenance}"
        raise ConfigError(f"plan.{field}", value, allowed)
    return replace(target, plan=replace(target.plan, **changes))


def _status(text: str) -> Any:
    """Shows on a terminal that something is going on; what is printed stays clean."""
    from rich.console import Console

    return Console(stderr=True).status(text)
