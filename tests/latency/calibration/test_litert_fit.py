"""The fit of LiteRT's table: from whole runs of tiny graphs to a formula for each kind."""

import pytest

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.emulator import MOVED_ON, Run
from nas_sv2.latency.calibration.litert_fit import fit_litert
from nas_sv2.latency.calibration.litert_grid import litert_points
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.emulated.kernel_table import KernelCost, KernelTable
from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.litert import litert_kernels_of

TABLE = KernelTable.load("cortex-a76", runtime="litert")
PER_RUN = 5000.0


def run_of(point: Point) -> Run:
    """A run whose kernels cost what the shipped table says."""
    kernels = litert_kernels_of(point.graph)
    return Run(point.name, (), PER_RUN + sum(map(cost, kernels)))


def cost(kernel: Kernel) -> float:
    return (TABLE.entries.get(kernel.key) or TABLE.formulas[kernel.kind]).of(kernel)


def name_of(kernel: Kernel) -> str:
    return kernel.key if kernel.key in TABLE.entries else kernel.kind


def test_costs_are_recovered_from_whole_runs() -> None:
    points = list(litert_points())
    found = fit_litert(points, list(map(run_of, points)))
    assert found.per_run == pytest.approx(PER_RUN)
    assert (found.entries.keys(), found.formulas.keys()) == (
        TABLE.entries.keys(),
        TABLE.formulas.keys(),
    )
    for name, entry in {**found.entries, **found.formulas}.items():
        costs = KernelCost.from_json(entry)
        for point in points:
            for kernel in litert_kernels_of(point.graph):
                if name == name_of(kernel) and cost(kernel) > 30_000:
                    assert costs.of(kernel) == pytest.approx(cost(kernel), rel=0.05), name


def test_every_graph_is_named_once_and_prices_one_kind() -> None:
    names = [point.name for point in litert_points()]
    assert len(set(names)) == len(names)


def test_a_graph_of_kernels_without_a_price_is_refused() -> None:
    points = [point for point in litert_points() if not point.name.startswith("relu_")]
    with pytest.raises(MeasurementError, match="has not been priced before"):
        fit_litert(points, list(map(run_of, points)))


@pytest.mark.parametrize(
    ("line", "priced"),
    [
        ("ld1 { v0.2s }, [x19], #8", "ld1 { v0.2s }, [x19]"),
        ("ldr q0, [x3], #16", "ldr q0, [x3]"),
        ("ldp q0, q1, [x3], #-32", "ldp q0, q1, [x3]"),
        ("ld1 { v0.4s }, [x0], x1", "ld1 { v0.4s }, [x0]"),
        ("ldr q0, [x3, #16]", "ldr q0, [x3, #16]"),
        ("str q0, [x3], #16", "str q0, [x3], #16"),
    ],
)
def test_an_address_that_a_load_moves_on_is_there_at_once(line: str, priced: str) -> None:
    assert MOVED_ON.sub(r"\1", line) == priced
