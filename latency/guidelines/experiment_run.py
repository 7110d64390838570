"""Runs the controlled experiments on a target: a table at a time, one image a run.

The networks of a table are timed in alternation where the target is measured, and relative times
are taken round by round; an emulated target prices them one by one.
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
"""Images a run. At table 8's batch of 8 the last GPU row of table 1 would need five times what its
GPU can do, so Tables 1 to 4 are of one image on both of the paper's platforms."""
Progress = Callable[[str, int, int], None]
"""Is told what is timed now, how many tables are done and how many there are."""


@dataclass(frozen=True, slots=True)
class ExperimentTime:
    """A network of an experiment and how long it takes.

    Attributes:
        network: What was timed.
        latency: How long it takes.
    """

    network: ExperimentNetwork
    latency: Latency


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """What became of an experiment.

    Attributes:
        experiment: What was asked.
        time: The answer; None where the target does not cover the network.
        relative: Its time relative to the first of its group; None where one of them is missing.
        relative_ci: The 95 % interval; None where nothing was run, or it is the first itself.
        not_covered: What the target lacks a price for; empty where there is a time.
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
        table: What was asked.
        rows: In its order.
        orders: How the networks that were timed compare; its places count `timed`.
    """

    table: ExperimentTable
    rows: tuple[ExperimentRow, ...]
    orders: Orders

    @property
    def timed(self) -> list[ExperimentTime]:
        """The times there are."""
        return [row.time for row in self.rows if row.time is not None]


def platform_of(target: Target) -> Platform:
    """Whose widths of the paper's tables suit the target."""
    on_gpu = target.device is not None and target.device.plan.processor == "cuda"
    return "GPU" if on_gpu else "ARM"


def with_one_image(target: Target) -> Target:
    """The target with a plan for one image a run, as the paper's tables are."""
    return target if target.device is None else target.with_plan(batch=BATCH)


def run_experiments(
    target: Target, progress: Progress = lambda what, done, total: None
) -> list[TimedTable]:
    """The paper's Tables 1 to 4 and the further experiments, timed on `target`.

    A stored session of a whole table is taken in place of a new one, unless the target is `fresh`.

    Args:
        target: Where; one image a run (`with_one_image`) if the paper's figures are to compare.
        progress: Told before each table.

    Raises:
        DeviceError: The device is missing, unreachable or lacks its runtime.
        MeasurementError: It answered, but not with a latency; or no network is covered.
        StoreError: Stored measurements cannot be read or written.
    """
    tables = (*paper_tables(platform_of(target)), *further_tables())
    found = []
    for done, table in enumerate(tables):
        progress(f"{table.name}: {table.title}", done, len(tables))
        found.append(time_table(target, table))
    if not times_of(found):
        raise MeasurementError(f"{target.name} has a figure of none of these networks")
    return found


def times_of(tables: Sequence[TimedTable]) -> list[ExperimentTime]:
    """All times of all tables."""
    return [time for table in tables for time in table.timed]


def time_table(target: Target, table: ExperimentTable) -> TimedTable:
    """The networks of one table, timed on `target` as its plan says.

    Raises:
        DeviceError: As `run_experiments`.
        MeasurementError: The device answered, but not with a latency.
        StoreError: As `run_experiments`.
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
