"""The paper's networks and the user's on one target, compared with the paper's results.

Each level is measured in a session.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.measurements.head_to_head import (
    MOST_NETWORKS,
    Orders,
    emulated_orders,
    orders_of,
)
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.choices.levels import FLOPS_OF_LEVEL
from nas_sv2.space.families.published import STRUCTURES, published_network
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.studies.paper.published_figures import PublishedRow, table8
from nas_sv2.studies.storage.named_networks import Named

YOURS = "yours"
"""Family of the user's networks."""
V2 = "ShuffleNet V2"


@dataclass(frozen=True)
class Row:
    """A network of the comparison.

    Attributes:
        level: Complexity level.
        model: Name by the paper, or by the user for one of the user's networks.
        family: Family of the network; `YOURS` for one of the user's networks.
        name: Our name of the network; empty if we have not built it.
        published: Results that the paper published; None for one of the user's networks.
        network: The network; None if we have not built it.
        cost: Cost of the network; None if we have not built it.
        reconstructed: Details of the structure that the sources leave open, and our choice.
        latency: Latency on the device; None if there is none.
        lacks: Reason for a missing latency; else empty.
    """

    level: str
    model: str
    family: str
    name: str
    published: PublishedRow | None
    network: Classifier | None
    cost: Cost | None
    reconstructed: str = ""
    latency: Latency | None = None
    lacks: str = ""

    @property
    def relative_time(self) -> float | None:
        """Time as a ratio to the reference network of the session, or in ms if there is none.

        Ratios of different sessions are comparable; times in ms are less comparable.
        """
        if self.latency is None:
            return None
        return self.latency.ms if self.latency.ratio is None else self.latency.ratio


Published = Callable[[Row], float | None]
"""Function from a row to a published speed; more is faster."""


def arm_speed(row: Row) -> float | None:
    """Return the images per second on the paper's ARM core."""
    return None if row.published is None else row.published.arm_images_per_s


def gpu_speed(row: Row) -> float | None:
    """Return the batches of 8 images per second on the paper's GPU."""
    return None if row.published is None else row.published.gpu_batches_per_s


@dataclass(frozen=True)
class Session:
    """Networks that were timed together, and their order.

    Attributes:
        rows: Networks, each once.
        orders: Order of each pair, by places in `rows`.
    """

    rows: tuple[Row, ...]
    orders: Orders


@dataclass(frozen=True)
class PaperComparison:
    """The paper's networks, and the user's, on one device.

    Attributes:
        target: Name of the target.
        device: Device, runtime, threads and batch in words.
        provenance: Origin of the times: measured, emulated or predicted.
        batch: Images per run.
        rows: Networks in the paper's order; the user's networks follow those of their level.
        sessions: One session per level, or several if a level has too many networks for one.
    """

    target: str
    device: str
    provenance: Provenance
    batch: int
    rows: tuple[Row, ...]
    sessions: tuple[Session, ...]

    def v2_of(self, level: str) -> Row | None:
        """Return ShuffleNet V2 of the level."""
        v2 = (row for row in self.rows if (row.level, row.family) == (level, V2))
        return next(v2, None)

    def speed(self, row: Row) -> float | None:
        """Return the speed of `row` here, relative to ShuffleNet V2 of its level."""
        v2 = self.v2_of(row.level)
        if v2 is None or v2.relative_time is None or row.relative_time is None:
            return None
        return v2.relative_time / row.relative_time

    def published_speed(self, row: Row, published: Published) -> float | None:
        """Return the speed of `row` on a device of the paper, relative to ShuffleNet V2."""
        v2 = self.v2_of(row.level)
        v2_speed = None if v2 is None else published(v2)
        own = published(row)
        return own / v2_speed if own and v2_speed else None

    def images_per_s(self, row: Row) -> float | None:
        """Return the images per second here, one run after the other."""
        return None if row.latency is None else 1000 * self.batch / row.latency.ms


def distinct(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each network; leave out networks that we have not built."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.network is not None:
            first.setdefault(row.network.digest, row)
    return list(first.values())


NOT_BUILT = "not built"
SHOWN_KERNELS = 3
"""Kernels shown of those that a table does not cover; they show the kind of network."""


def run_comparison(
    target: Target,
    levels: Sequence[str],
    others: Sequence[Named[Classifier]] = (),
    begun: Callable[[str], None] = lambda what: None,
) -> PaperComparison:
    """Compare the networks of table 8 at some levels, and the user's, on `target`.

    A measured target times the networks of a level in alternation, at most `MOST_NETWORKS` at
    once, or uses a stored session of exactly these networks. An emulated target prices the
    networks that it covers; the rows of the others name the kernels not covered.

    Args:
        target: Target that times or prices the networks.
        levels: Complexity levels of table 8.
        others: The user's networks; each is added to the level nearest to it in FLOPs.
        begun: Function called with each level as it starts.

    Raises:
        DeviceError: If the device is missing or unreachable or lacks its runtime.
        MeasurementError: If the device does not answer with a latency, or no network is covered.
        StoreError: If stored measurements cannot be read or written.
    """
    found = [_found(named, levels) for named in others]
    rows: list[Row] = []
    sessions: list[Session] = []
    for level in levels:
        begun(level)
        of_level = [_published(row) for row in table8() if row.level == level]
        of_level += [row for row in found if row.level == level]
        held = list(_sessions(target, of_level))
        timed = {row.network.digest: row for one in held for row in one.rows if row.network}
        rows += [_with_time(row, timed, target) for row in of_level]
        sessions += held
    latency = next((row.latency for row in rows if row.latency is not None), None)
    if latency is None:
        raise MeasurementError(f"{target.name} has no latency of any of these networks")
    return PaperComparison(
        target=target.name,
        device=latency.device,
        provenance=latency.provenance,
        batch=target.batch,
        rows=tuple(rows),
        sessions=tuple(sessions),
    )


def _published(row: PublishedRow) -> Row:
    if not row.network:
        return Row(row.level, row.model, row.family, "", row, None, None, lacks=NOT_BUILT)
    network = published_network(row.network)
    structure = STRUCTURES.get(row.network)
    return Row(
        row.level,
        row.model,
        row.family,
        row.network,
        row,
        network,
        cost_of(lower(network)),
        reconstructed="" if structure is None else structure.reconstructed,
    )


def _found(named: Named[Classifier], levels: Sequence[str]) -> Row:
    cost = cost_of(lower(named.network))
    ratios = {level: FLOPS_OF_LEVEL[level] / cost.flops for level in levels}
    nearest = min(ratios, key=lambda level: max(ratios[level], 1 / ratios[level]))
    return Row(nearest, named.name, YOURS, named.name, None, named.network, cost)


def _sessions(target: Target, rows: Sequence[Row]) -> Iterator[Session]:
    """Yield the sessions of the rows' networks, each network once, with latencies."""
    networks = {row: row.network for row in distinct(rows) if row.network is not None}
    if target.device is None:
        timed = {
            row: target.estimate(network)
            for row, network in networks.items()
            if not target.uncovered(network)
        }
        orders = emulated_orders(list(timed.values()))
        yield Session(tuple(replace(row, latency=ms) for row, ms in timed.items()), orders)
        return
    left = list(networks)
    while left:
        together, left = left[:MOST_NETWORKS], left[MOST_NETWORKS:]
        found = target.device.session([networks[row] for row in together])
        with_time = (
            replace(row, latency=measurement.latency(target.name))
            for row, measurement in zip(together, found, strict=True)
        )
        yield Session(tuple(with_time), orders_of(found))


def _with_time(row: Row, timed: dict[str, Row], target: Target) -> Row:
    if row.network is None:
        return row
    if row.network.digest in timed:
        return replace(row, latency=timed[row.network.digest].latency)
    kernels = target.uncovered(row.network)
    shown = ", ".join(kernels[:SHOWN_KERNELS])
    more = len(kernels) - SHOWN_KERNELS
    return replace(row, lacks=f"not covered: {shown}" + (f" and {more} more" if more > 0 else ""))
