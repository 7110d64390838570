"""The paper's networks on one device, compared with each other and with the paper's results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas_sv2.latency.measurements.head_to_head import Orders
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.networks.lowering import Network
from nas_sv2.studies.paper.published_figures import PublishedRow

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
    network: Network | None
    cost: Cost | None
    reconstructed: str = ""
    latency: Latency | None = None
    lacks: str = ""

    @property
    def pace(self) -> float | None:
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
class Comparison:
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
        if v2 is None or v2.pace is None or row.pace is None:
            return None
        return v2.pace / row.pace

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
