"""Fits the scale of an emulated core to a real device, and estimates the error that remains.

Cycles of the table leave out caches and memory, and the device may have another clock. If a device
of the same kind is available, latencies of a dozen networks determine the one factor between
cycles and milliseconds. They also show the error of the table on that device.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from nas_sv2.errors import ConfigError
from nas_sv2.latency.calibration.table_file import with_scale
from nas_sv2.latency.emulated.kernel_table import Table, table_text
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.graph.operators import Graph

FEWEST = 3  # with one network the error is always zero, with two nearly always


@dataclass(frozen=True, slots=True)
class ScaleError:
    """The error of a table with a refitted scale against measured latencies, as shares.

    Attributes:
        networks: Number of networks measured.
        typical: Mean error.
        worst: Largest error.
        unseen: Mean error on a network that is left out of the fit.
        in_order: Share of pairs of networks whose order is right.
    """

    networks: int
    typical: float
    worst: float
    unseen: float
    in_order: float

    def __str__(self) -> str:
        """Return one line for the table's file."""
        return (
            f"scale fitted to {self.networks} networks measured on the device, typical error "
            f"±{self.typical:.1%}, worst {self.worst:.0%}, {self.unseen:.1%} on a network unseen"
        )


def refit_scale(table: Table, pairs: Sequence[tuple[Graph, float]]) -> tuple[float, ScaleError]:
    """Return the cycles per ms with the least mean relative error, and that error.

    Args:
        table: Costs of the device's core.
        pairs: Graphs as they ran (without shuffles if measured without), and measured ms.

    Raises:
        ConfigError: If there are fewer than three networks or a latency is not above 0.
        MeasurementError: If the table lacks a kernel of a network.
    """
    if len(pairs) < FEWEST:
        raise ConfigError("pairs", len(pairs), f"must be at least {FEWEST} measured networks")
    measured = [ms for _, ms in pairs]
    if min(measured) <= 0:
        raise ConfigError("pairs", min(measured), "must be latencies above 0 ms")
    cycles = [sum(map(table.cycles, kernels_of(graph, table.precision))) for graph, _ in pairs]
    ms_per_cycle = least_error_scale(cycles, measured)
    errors = [abs(c * ms_per_cycle / ms - 1) for c, ms in zip(cycles, measured, strict=True)]
    unseen = [
        abs(
            cycles[index]
            * least_error_scale(_but(cycles, index), _but(measured, index))
            / measured[index]
            - 1
        )
        for index in range(len(pairs))
    ]
    order = [
        (cycles[a] < cycles[b]) == (measured[a] < measured[b])
        for a in range(len(pairs))
        for b in range(a)
    ]
    return 1 / ms_per_cycle, ScaleError(
        networks=len(pairs),
        typical=sum(errors) / len(errors),
        worst=max(errors),
        unseen=sum(unseen) / len(unseen),
        in_order=sum(order) / len(order),
    )


def save_refit(
    core: str | Path,
    precision: ArmPrecision,
    pairs: Sequence[tuple[Graph, float]],
    out: Path,
) -> ScaleError:
    """Write a table with the scale refitted to a device; its note names the fit and its error.

    Args:
        core: The device's core, whose shipped table is used, or a table's file.
        precision: Precision of the measurements; other tables of the file stay as they are.
        pairs: Graphs as they ran, and measured ms.
        out: JSON file to write, for `EmulatedArm.open(file=...)`.

    Raises:
        ConfigError: If there are fewer than three networks or a latency is not above 0.
        DeviceError: If the table cannot be read.
        MeasurementError: If the table lacks a kernel of a network.
    """
    cycles_per_ms, error = refit_scale(Table.load(core, precision), pairs)
    text = with_scale(table_text(core), precision, cycles_per_ms, str(error))
    out.write_text(text, encoding="utf-8")
    return error


def least_error_scale(guesses: Sequence[float], truths: Sequence[float]) -> float:
    """Return the factor on `guesses` with the least mean relative error.

    It is the median of the ratios, weighted by their inverses.
    """
    ratios = sorted(truth / guess for guess, truth in zip(guesses, truths, strict=True))
    reached = list(accumulate(1 / ratio for ratio in ratios))
    return ratios[bisect_left(reached, reached[-1] / 2)]


def _but(values: Sequence[float], index: int) -> list[float]:
    return [value for at, value in enumerate(values) if at != index]
