"""`measure`: the latency of networks on targets, and their order."""

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import (
    STORAGE,
    Archs,
    AsJson,
    Fresh,
    RequireMeasured,
    SeveralTargets,
    Storage,
    open_database,
    print_json,
    print_notes,
    waiting,
)
from nas_sv2.commands.plan_options import (
    Affinity,
    Batch,
    Precision,
    Threads,
    plan_changes,
)

if TYPE_CHECKING:
    from nas_sv2.latency.measurements.head_to_head import Orders
    from nas_sv2.latency.measurements.measurement import Latency
    from nas_sv2.latency.targets.target import Target
    from nas_sv2.studies.storage.named_networks import Named


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
    from nas_sv2.latency.measurements.head_to_head import check_number
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.show.measure_tables import order_notes, order_table
    from nas_sv2.show.tables import latency_notes, latency_table, output
    from nas_sv2.studies.storage.named_networks import find_network

    changes = plan_changes(precision, threads, batch, affinity, sustained)
    book = TargetBook.read()
    names = book.names(target)
    check_number(len(archs))
    db = open_database(storage)
    networks = [find_network(text, db) for text in archs]
    found: list[_OnTarget] = []
    store = MeasurementStore(db)
    for name in names:
        with waiting(f"measuring on {name}") as status:
            opened = book.open(
                name,
                store=store,
                require_measured=require_measured,
                fresh=fresh,
                told=status.update,
            )
            with closing(opened):
                found.append(_measured(opened.with_plan(**changes), networks))
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

    architectures = [network.network for network in networks]
    if target.device is not None and len(networks) > 1:
        session = target.device.measure_together(architectures)
        latencies = [measurement.latency(target.name) for measurement in session]
        return _OnTarget(target.name, networks, latencies, orders_of(session))
    latencies = [target.estimate(architecture) for architecture in architectures]
    orders = emulated_orders(latencies) if len(networks) > 1 else None
    return _OnTarget(target.name, networks, latencies, orders)
