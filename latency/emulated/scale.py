"""The scale of a table of kernel costs, fitted to latencies that are known.

The costs are in cycles. One factor turns their sum into milliseconds on a device.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from nas_sv2.errors import ConfigError
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.space.graph.operators import Graph

FEWEST = 2  # one network cannot say how far the scale is from another


@dataclass(frozen=True, slots=True)
class ScaleError:
    """The error of a table with a refitted scale against known latencies, as shares.

    Attributes:
        networks: Number of networks.
        typical: Mean error.
        worst: Largest error.
        unseen: Mean error on a network that is left out of the fit.
    """

    networks: int
    typical: float
    worst: float
    unseen: float

    def describe(self, figures: str) -> str:
        """Return one line for the table's file; `figures` says what the scale is fitted to."""
        return (
            f"scale fitted to {self.networks} {figures}, typical error ±{self.typical:.1%}, "
            f"worst {self.worst:.0%}, {self.unseen:.1%} on a network unseen"
        )


def refit_scale(
    table: KernelTable, pairs: Sequence[tuple[Graph, float]]
) -> tuple[float, ScaleError]:
    """Return the cycles per ms with the least mean relative error, and that error.

    Args:
        table: Costs of the device's core.
        pairs: Graphs as they ran (without shuffles if measured without), and their ms.

    Raises:
        ConfigError: If there are fewer than two networks or a latency is not above 0.
        MeasurementError: If the table lacks a kernel of a network.
    """
    if len(pairs) < FEWEST:
        raise ConfigError(
            "pairs", len(pairs), f"must be the latencies of at least {FEWEST} networks"
        )
    measured = [ms for _, ms in pairs]
    if min(measured) <= 0:
        raise ConfigError("pairs", min(measured), "must be latencies above 0 ms")
    cycles = [sum(map(table.cycles, table.kernels(graph))) for graph, _ in pairs]
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
    return 1 / ms_per_cycle, ScaleError(
        networks=len(pairs),
        typical=sum(errors) / len(errors),
        worst=max(errors),
        unseen=sum(unseen) / len(unseen),
    )


def least_error_scale(guesses: Sequence[float], truths: Sequence[float]) -> float:
    """Return the factor on `guesses` with the least mean relative error.

    It is the median of the ratios, weighted by their inverses.
    """
    ratios = sorted(truth / guess for guess, truth in zip(guesses, truths, strict=True))
    reached = list(accumulate(1 / ratio for ratio in ratios))
    return ratios[bisect_left(reached, reached[-1] / 2)]


def _but(values: Sequence[float], index: int) -> list[float]:
    return [value for at, value in enumerate(values) if at != index]
