"""Runs the controlled experiments on a target, table by table.

A measured target times the networks of a table in alternation, and relative times are taken round
by round. An emulated target prices the networks one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.measurements.head_to_head import Orders, emulated_orders, orders_of
from nas_sv2.latency.measurements.measurement import Interval, Latency, Measurement
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.experiments.further import further_tables
from nas_sv2.space.experiments.network import ExperimentNetwork
from nas_sv2.space.experiments.paper import Experiment, ExperimentTable, Platform, paper_tables

BATCH = 1
"""Images per run. At table 8's batch of 8 the last GPU row of table 1 would need five times the
speed of its GPU, so Tables 1 to 4 use one image on both of the paper's platforms."""
Progress = Callable[[str, int, int], None]
"""Function called with the current table, the number of finished tables and of all tables."""


@dataclass(frozen=True, slots=True)
class ExperimentTime:
    """A network of an experiment and its latency.

    Attributes:
        network: Network that was timed.
        latency: Latency of the network.
    """

    network: ExperimentNetwork
    latency: Latency


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """The result of an experiment.

    Attributes:
        experiment: Experiment.
        time: Time of its network; None if the target does not cover the network.
        relative: Time relative to the first experiment of the group; None if one is missing.
        relative_ci: 95 % interval of `relative`; None if nothing was run, or for the first itself.
        not_covered: Kernels without a price on the target; empty if there is a time.
    """

    experiment: Experiment
    time: ExperimentTime | None
    relative: float | None = None
    relative_ci: Interval | None = None
    not_covered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimedTable:
    """A table of experiments with its times.

    Attributes:
        table: Table of experiments.
        rows: Results in the order of the table.
        orders: Order of each pair of timed networks, by places in `timed`.
    """

    table: ExperimentTable
    rows: tuple[ExperimentRow, ...]
    orders: Orders

    @property
    def timed(self) -> list[ExperimentTime]:
        """Times of the rows that have one."""
        return [row.time for row in self.rows if row.time is not None]


def platform_of(target: Target) -> Platform:
    """Return the platform whose widths in the paper's tables suit the target."""
    on_gpu = target.device is not None and target.device.plan.processor == "cuda"
    return "GPU" if on_gpu else "ARM"


def with_one_image(target: Target) -> Target:
    """Return the target with a plan for one image per run, as in the paper's tables."""
    return target if target.device is None else target.with_plan(batch=BATCH)


def experiments_for(target: Target) -> list[ExperimentTable]:
    """Return the paper's Tables 1 to 4, in the widths for the target, and the further ones."""
    return [*paper_tables(platform_of(target)), *further_tables()]


def run_experiments(
    target: Target, progress: Progress = lambda what, done, total: None
) -> list[TimedTable]:
    """Time the paper's Tables 1 to 4 and the further experiments on `target`.

    A stored session of a whole table is used instead of a new one, unless the target is `fresh`.

    Args:
        target: Target; with one image per run (`with_one_image`) for a comparison with the paper.
        progress: Function called before each table.

    Raises:
        DeviceError: If the device is missing or unreachable or lacks its runtime.
        MeasurementError: If the device does not answer with a latency, or no network is covered.
        StoreError: If stored measurements cannot be read or written.
    """
    tables = experiments_for(target)
    found = []
    for done, table in enumerate(tables):
        progress(f"{table.name}: {table.title}", done, len(tables))
        found.append(time_table(target, table))
    if not times_of(found):
        raise MeasurementError(f"{target.name} has no latency of any of these networks")
    return found


def times_of(tables: Sequence[TimedTable]) -> list[ExperimentTime]:
    """Return the times of all tables."""
    return [time for table in tables for time in table.timed]


def time_table(target: Target, table: ExperimentTable) -> TimedTable:
    """Time the networks of one table on `target` by its plan.

    Raises:
        DeviceError: If the device is missing or unreachable or lacks its runtime.
        MeasurementError: If the device does not answer with a latency.
        StoreError: If stored measurements cannot be read or written.
    """
    if target.device is not None:
        session = target.device.session([each.network for each in table.experiments])
        return TimedTable(table, tuple(_measured(target.name, table, session)), orders_of(session))
    rows = tuple(_priced(target, table))
    latencies = [row.time.latency for row in rows if row.time is not None]
    return TimedTable(table, rows, emulated_orders(latencies))


def _measured(
    name: str, table: ExperimentTable, session: Sequence[Measurement]
) -> Iterator[ExperimentRow]:
    by_network = dict(zip((each.network for each in table.experiments), session, strict=True))
    for group in table.groups:
        first = by_network[group[0].network]
        for each in group:
            one = by_network[each.network]
            time = ExperimentTime(each.network, one.latency(name))
            if one is first:
                yield ExperimentRow(each, time, 1.0)
                continue
            relative = one.relative_to(first) or (one.median_ms / first.median_ms, None)
            yield ExperimentRow(each, time, *relative)


def _priced(target: Target, table: ExperimentTable) -> Iterator[ExperimentRow]:
    for group in table.groups:
        first: float | None = None
        for each in group:
            try:
                latency = target.estimate(each.network)
            except MeasurementError:
                lacks = target.uncovered(each.network)
                if not lacks:
                    raise
                yield ExperimentRow(each, None, not_covered=tuple(lacks))
                continue
            if each is group[0]:
                first = latency.ms
            relative = None if first is None else latency.ms / first
            yield ExperimentRow(each, ExperimentTime(each.network, latency), relative)
