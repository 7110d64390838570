"""Latencies of networks on a target: measured together, ranked, and said to be tied or not."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any

from nas_sv2.api.databases import database_of
from nas_sv2.api.notes import Notify, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.head_to_head import (
    Orders,
    Pair,
    check_number,
    emulated_orders,
    orders_of,
)
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import Target
from nas_sv2.latency.targets.user_target import LatencySource
from nas_sv2.space.networks.lowering import Classifier
from nas_sv2.studies.storage.named_networks import Named, find_network


@dataclass(frozen=True)
class Comparison:
    """Networks on one target: the latency of each, and their order if there are several.

    It prints as a table and shows as one in a notebook.

    Attributes:
        target: The name of the target.
        networks: The networks with their names, in the order in which they were given.
        latencies: The latency of each.
        orders: Ranks, ties and intervals; None for a single network.
    """

    target: str
    networks: Sequence[Named]
    latencies: Sequence[Latency]
    orders: Orders | None

    @property
    def names(self) -> list[str]:
        """The names of the networks."""
        return [network.name for network in self.networks]

    @property
    def ranking(self) -> list[str]:
        """The names from the fastest network to the slowest."""
        return [self.names[place] for place in self._ranking]

    @property
    def ties(self) -> list[tuple[str, str]]:
        """Pairs of names, faster and slower, whose difference is not settled."""
        pairs = () if self.orders is None else self.orders.pairs
        return [(self.names[p.faster], self.names[p.slower]) for p in pairs if not p.settled]

    def to_json(self) -> list[dict[str, Any]]:
        """Each network with its latency, its rank and its place against the others."""
        return [
            {
                "name": network.name,
                "digest": network.network.digest,
                "target": self.target,
                **self.latencies[index].to_json(),
                "rank": self._ranking.index(index) + 1,
                "rule": None if self.orders is None else self.orders.rule,
                "against": self._against(index),
            }
            for index, network in enumerate(self.networks)
        ]

    def __str__(self) -> str:
        """The networks from the fastest to the slowest, as plain text."""
        width = max(map(len, self.names))
        lines = [f"{name:<{width}}  {ms:>10}  {order}" for name, ms, order in self._rows()]
        return "\n".join([f"{'on ' + self.target:<{width}}  {'ms':>10}", *lines])

    def _repr_html_(self) -> str:
        """The same for a notebook; names may hold any character."""
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._rows()
        )
        head = f"<tr><th>on {escape(self.target)}</th><th>ms</th><th></th></tr>"
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"

    @property
    def _ranking(self) -> Sequence[int]:
        return (0,) if self.orders is None else self.orders.ranking

    def _rows(self) -> list[tuple[str, str, str]]:
        neighbours: Mapping[int, Pair] = (
            {} if self.orders is None else {pair.slower: pair for pair in self.orders.neighbours}
        )
        rows = []
        for place in self._ranking:
            pair, latency = neighbours.get(place), self.latencies[place]
            order = "" if pair is None else f"× {pair.ratio:.3f}, "
            order += "" if pair is None else "settled" if pair.settled else "tie"
            rows.append((self.names[place], f"{latency.ms:.3f}", order))
        return rows

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


def measure(
    networks: Sequence[Classifier | str],
    *,
    target: str | LatencySource,
    storage: str | Database = DEFAULT_STORAGE,
    fresh: bool = False,
    require_measured: bool = False,
    plan: Mapping[str, Any] | None = None,
    notify: Notify | None = None,
) -> Comparison:
    """Measure networks on a target.

    A single network is read from the database if it was measured before. Several are measured
    together, in alternation.

    Args:
        networks: Networks, names of hand-designed ones, files, or `STUDY:NUMBER`.
        target: A name, `module:attribute`, or an object of yours.
        storage: The URL of the database of measurements, or an open handle.
        fresh: Measure although a result is stored.
        require_measured: Refuse a target whose latency is not measured.
        plan: Fields of the measuring plan that are changed, such as `threads`.
        notify: Is called with a line for each wait.

    Raises:
        ConfigError: A network or the target is not known, or the plan does not allow a change.
        DeviceError: The target cannot be used.
        MeasurementError: It gave no latency.
        StoreError: The database cannot be read or written.
    """
    check_number(len(networks))
    db = database_of(storage)
    named = [_named(network, db) for network in networks]
    book = TargetBook.read([] if isinstance(target, str) else [target])
    name = book.one(target) if isinstance(target, str) else target.name
    opened = book.open(
        name,
        store=MeasurementStore(db),
        require_measured=require_measured,
        fresh=fresh,
        told=notify or ignore,
    )
    with closing(opened):
        return _compare(opened.with_plan(**(plan or {})), named)


def _compare(target: Target, networks: Sequence[Named]) -> Comparison:
    """One network from the store or measured; several measured together now."""
    found = [network.network for network in networks]
    if target.device is not None and len(networks) > 1:
        session = target.device.measure_together(found)
        latencies = [measurement.latency(target.name) for measurement in session]
        return Comparison(target.name, networks, latencies, orders_of(session))
    latencies = [target.estimate(network) for network in found]
    orders = emulated_orders(latencies) if len(networks) > 1 else None
    return Comparison(target.name, networks, latencies, orders)


def _named(network: Classifier | str, db: Database) -> Named:
    if isinstance(network, str):
        return find_network(network, db)
    return Named(network.digest[:8], network)
