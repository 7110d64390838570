"""Latencies measured together and ranked; stored measurements, moved and compared."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nas_sv2.api.arguments import Notify, checked, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.address import is_database
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, naming_network
from nas_sv2.latency.measurements.exchange import (
    Counts as Counts,
)
from nas_sv2.latency.measurements.exchange import (
    Difference,
    Figures,
    check_file,
    difference,
    export_lines,
    figures_of,
    merge,
    read_file,
    stored_measurements,
    write_file,
)
from nas_sv2.latency.measurements.head_to_head import (
    Orders,
    Pair,
    check_number,
    emulated_orders,
    orders_of,
)
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import Key, MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import Target
from nas_sv2.latency.targets.user_target import LatencySource
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.onnx_models.model import Shapes
from nas_sv2.studies.storage.named_networks import Named, find_networks


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
    networks: Sequence[Named[Network]]
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
            order = f"stored, measured {latency.measured_at}" if latency.stored else ""
            if pair is not None:
                order = f"× {pair.ratio:.3f}, {'settled' if pair.settled else 'tie'}"
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


@checked
def measure(
    networks: Sequence[Network | str],
    *,
    target: str | LatencySource,
    storage: str | Database = DEFAULT_STORAGE,
    fresh: bool = False,
    require_measured: bool = False,
    plan: Mapping[str, Any] | None = None,
    inputs: Shapes | None = None,
    notify: Notify | None = None,
) -> Comparison:
    """Measure networks on a target.

    A single network is read from the database if it was measured before, undisturbed by other
    programs. Several are measured together, in alternation.

    Args:
        networks: Networks, names of hand-designed ones, files (those of ONNX, LiteRT and ncnn
            too), or `STUDY:NUMBER`.
        target: A name, `module:attribute`, or an object of yours.
        storage: The URL of the database of measurements, or the `db` of a study.
        fresh: Measure although a result is stored.
        require_measured: Refuse a target whose latency is not measured.
        plan: Fields of the measuring plan that are changed, such as `threads`.
        inputs: Shapes of the ONNX files' inputs that leave a size open, by name. The name `""`
            stands for the only input, and gives other networks that input too.
        notify: Is called with a line for each wait.

    Raises:
        ConfigError: A network or the target is not known, or the plan does not allow a change.
        DeviceError: The target cannot be used.
        MeasurementError: It gave no latency.
        StoreError: The database cannot be read or written.
    """
    if not networks:
        raise ConfigError("networks", networks, "must have at least one network")
    check_number(len(networks))
    db = database_of(storage)
    texts = [network for network in networks if isinstance(network, str)]
    found = iter(find_networks(texts, db, inputs))
    named = [
        next(found) if isinstance(network, str) else Named(network.digest[:8], network)
        for network in networks
    ]
    book = TargetBook.read([] if isinstance(target, str) else [target])
    name = book.one(target) if isinstance(target, str) else target.name
    opened = book.open(
        name,
        store=MeasurementStore(db),
        require_measured=require_measured,
        fresh=fresh,
        notify=notify or ignore,
    )
    with closing(opened):
        return _compare(opened.with_plan(**(plan or {})), named)


def _compare(target: Target, networks: Sequence[Named[Network]]) -> Comparison:
    """One network from the store or measured; several measured together now."""
    found = [network.network for network in networks]
    if target.device is not None and len(networks) == 1:
        latency = target.estimate(found[0])
        if latency.stored and latency.contended:
            latency = target.device.measure_together(found)[0].latency(target.name)
        return Comparison(target.name, networks, [latency], None)
    if target.device is not None:
        session = target.device.measure_together(found)
        latencies = [measurement.latency(target.name) for measurement in session]
        return Comparison(target.name, networks, latencies, orders_of(session))
    latencies = []
    for each in networks:
        with naming_network(each.name):
            latencies.append(target.estimate(each.network))
    orders = emulated_orders(latencies) if len(networks) > 1 else None
    return Comparison(target.name, networks, latencies, orders)


def measurement_lines(counts: Counts, storage: str | Database = DEFAULT_STORAGE) -> Iterator[str]:
    """Give all measurements of a database, with every run, as JSON lines.

    Args:
        counts: Counts what was taken and what was skipped.
        storage: The URL of the database, or the `db` of a study.

    Raises:
        ConfigError: There is no such database.
        StoreError: It cannot be read.
    """
    return export_lines(_existing(storage), counts)


def export_measurements(file: Path, storage: str | Database = DEFAULT_STORAGE) -> Counts:
    """Write all measurements of a database to a new file; how many were taken.

    Raises:
        ConfigError: There is no such database, or the file exists.
        StoreError: It cannot be read or written.
    """
    counts = Counts()
    write_file(measurement_lines(counts, storage), file)
    return counts


def merge_measurements(file: Path, storage: str | Database = DEFAULT_STORAGE) -> Counts:
    """Import the measurements of a file that the database lacks; nothing if a line is invalid.

    Raises:
        ConfigError: The file does not hold measurements.
        StoreError: It cannot be read, or the database cannot be written.
    """
    check_file(file)
    return merge(file, MeasurementStore(database_of(storage)))


def difference_between(one: str, other: str) -> tuple[Difference, Mapping[str, int]]:
    """Compare two sets of measurements, files or URLs of databases.

    Returns:
        The difference, and how many measurements of each set were skipped.

    Raises:
        ConfigError: A file or database does not exist.
        StoreError: It cannot be read.
    """
    skipped = dict[str, int]()
    figures = []
    for source in (one, other):
        counts = Counts()
        figures.append(_figures(source, counts))
        if counts.skipped:
            skipped[source] = counts.skipped
    return difference(*figures), skipped


def _figures(source: str, counts: Counts) -> Mapping[Key, Figures]:
    """The newest figures of a database or file."""
    if "://" not in source and not is_database(Path(source)):
        return figures_of(measurement for _, measurement in read_file(Path(source)))
    with Database.open(source) as db:
        return figures_of(stored_measurements(_existing(db), counts))


def _existing(storage: str | Database) -> MeasurementStore:
    """The store of a database that exists: reading must not make one."""
    db = database_of(storage)
    db.require()
    return MeasurementStore(db)
