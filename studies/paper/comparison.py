"""The paper's networks side by side on one device, beside what the paper published of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas_sv2.latency.measurements.head_to_head import Orders
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.networks.lowering import Network
from nas_sv2.studies.paper.published_figures import PublishedRow

YOURS = "yours"
"""The family of networks of the user's."""
V2 = "ShuffleNet V2"


@dataclass(frozen=True)
class Row:
    """A network of the comparison.

    Attributes:
        level: Its complexity level.
        model: What the paper calls it, or what the user calls a network of theirs.
        family: What it is a member of; `YOURS` for a network of the user's.
        name: Our name of it; empty where we have not built it.
        published: What the paper says of it; None for a network of the user's.
        network: None where we have not built it.
        cost: The same.
        reconstructed: What the sources leave open of its structure, and how it was decided.
        latency: None where there is none.
        lacks: Why there is none; else empty.
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
        """Its time: as a ratio to the reference network timed beside it, else in ms.

        Ratios can be compared between sessions, ms less so.
        """
        if self.latency is None:
            return None
        return self.latency.ms if self.latency.ratio is None else self.latency.ratio


Published = Callable[[Row], float | None]
"""A published speed of a row, the more the faster."""


def arm_speed(row: Row) -> float | None:
    """Images a second on the paper's ARM core."""
    return None if row.published is None else row.published.arm_images_per_s


def gpu_speed(row: Row) -> float | None:
    """Batches of 8 a second on the paper's GPU."""
    return None if row.published is None else row.published.gpu_batches_per_s


@dataclass(frozen=True)
class Session:
    """Networks whose figures were taken together, and their order.

    Attributes:
        rows: Each network once.
        orders: By places in `rows`.
    """

    rows: tuple[Row, ...]
    orders: Orders


@dataclass(frozen=True)
class Comparison:
    """The paper's networks, and the user's, on one device.

    Attributes:
        target: What the user calls it.
        device: Device, runtime, threads and batch in words.
        provenance: Where the times come from.
        batch: Images a run.
        rows: In the paper's order; networks of the user's after those of their level.
        sessions: One a level, or several where a level has too many networks.
    """

    target: str
    device: str
    provenance: Provenance
    batch: int
    rows: tuple[Row, ...]
    sessions: tuple[Session, ...]

    def v2_of(self, level: str) -> Row | None:
        """ShuffleNet V2 of the level."""
        v2 = (row for row in self.rows if (row.level, row.family) == (level, V2))
        return next(v2, None)

    def speed(self, row: Row) -> float | None:
        """How fast `row` is relative to ShuffleNet V2 of its level, here."""
        v2 = self.v2_of(row.level)
        if v2 is None or v2.pace is None or row.pace is None:
            return None
        return v2.pace / row.pace

    def published_speed(self, row: Row, published: Published) -> float | None:
        """The same on one of the paper's devices."""
        v2 = self.v2_of(row.level)
        v2_speed = None if v2 is None else published(v2)
        own = published(row)
        return own / v2_speed if own and v2_speed else None

    def images_per_s(self, row: Row) -> float | None:
        """Its throughput here, one run after the other."""
        return None if row.latency is None else 1000 * self.batch / row.latency.ms


def distinct(rows: Sequence[Row]) -> list[Row]:
    """The rows without those whose network stands in an earlier one; not built ones left out."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.network is not None:
            first.setdefault(row.network.digest, row)
    return list(first.values())
