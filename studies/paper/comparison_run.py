"""Runs the paper's networks and the user's on one target, each level in a session."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.measurements.head_to_head import MOST_NETWORKS, emulated_orders, orders_of
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.choices.levels import FLOPS_OF_LEVEL
from nas_sv2.space.families.published import STRUCTURES, hand_designed
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.paper.comparison import YOURS, Comparison, Row, Session, distinct
from nas_sv2.studies.paper.published_figures import PublishedRow, table8
from nas_sv2.studies.storage.named_networks import Named

NOT_BUILT = "not built"
SHOWN_KERNELS = 3
"""Kernels shown of those that a table does not cover; they show the kind of network."""


def compare(
    target: Target,
    levels: Sequence[str],
    others: Sequence[Named] = (),
    begun: Callable[[str], None] = lambda what: None,
) -> Comparison:
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
    return Comparison(
        target=target.name,
        device=latency.device,
        provenance=latency.provenance,
        batch=1 if target.device is None else target.device.plan.batch,
        rows=tuple(rows),
        sessions=tuple(sessions),
    )


def _published(row: PublishedRow) -> Row:
    if not row.network:
        return Row(row.level, row.model, row.family, "", row, None, None, lacks=NOT_BUILT)
    network = hand_designed(row.network)
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


def _found(named: Named, levels: Sequence[str]) -> Row:
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
