"""The fit of LiteRT's and ncnn's tables: from whole runs of tiny graphs to formulas."""

import pytest

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.emulator import MOVED_ON, Run
from nas_sv2.latency.calibration.space_grid import START, Point
from nas_sv2.latency.calibration.table_file import POINTS
from nas_sv2.latency.calibration.whole_run_fit import fit_whole_runs
from nas_sv2.latency.emulated.kernel_table import KernelCost, KernelTable
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of

CASES: list[tuple[ArmRuntime, ArmPrecision]] = [
    ("litert", "fp32"),
    ("ncnn", "fp32"),
    ("ncnn", "fp16"),
]
TABLES = {
    (runtime, precision): KernelTable.load(
        "cortex-a76" if precision == "fp16" else "cortex-a57", precision, runtime
    )
    for runtime, precision in CASES
}
PER_RUN, COPY = 5000.0, 1e6


def run_of(point: Point, runtime: ArmRuntime, precision: ArmPrecision = "fp32") -> Run:
    """A run whose kernels cost what the shipped table says; ncnn copies the input besides."""
    table = TABLES[runtime, precision]
    kernels = kernels_of(point.graph, precision, runtime)
    copied = COPY if point.before or point.name.startswith(START) else 0.0
    return Run(point.name, (), PER_RUN + copied + sum(cost(kernel, table) for kernel in kernels))


def cost(kernel: Kernel, table: KernelTable) -> float:
    return (table.entries.get(kernel.key) or table.formulas[kernel.kind]).of(kernel)


def name_of(kernel: Kernel, table: KernelTable) -> str:
    return kernel.key if kernel.key in table.entries else kernel.kind


@pytest.mark.parametrize(("runtime", "precision"), CASES)
def test_costs_are_recovered_from_whole_runs(runtime: ArmRuntime, precision: ArmPrecision) -> None:
    points, table = list(POINTS[runtime](precision)), TABLES[runtime, precision]
    runs = [run_of(point, runtime, precision) for point in points]
    found = fit_whole_runs(points, runs, precision, runtime)
    assert found.per_run == pytest.approx(PER_RUN)
    assert found.entries.keys() == table.entries.keys()
    assert found.formulas.keys() == table.formulas.keys()
    costs = {
        name: KernelCost.from_json(entry)
        for name, entry in {**found.entries, **found.formulas}.items()
    }
    for point in points:
        for kernel in kernels_of(point.graph, precision, runtime):
            known, name = cost(kernel, table), name_of(kernel, table)
            if known > 30_000:
                assert costs[name].of(kernel) == pytest.approx(known, rel=0.05), name


@pytest.mark.parametrize(("runtime", "precision"), CASES)
def test_every_graph_is_named_once(runtime: ArmRuntime, precision: ArmPrecision) -> None:
    names = [point.name for point in POINTS[runtime](precision)]
    assert len(set(names)) == len(names)


def test_a_graph_of_kernels_without_a_price_is_refused() -> None:
    points = [point for point in POINTS["litert"]("fp32") if not point.name.startswith("relu_")]
    runs = [run_of(point, "litert") for point in points]
    with pytest.raises(MeasurementError, match="has not been priced before"):
        fit_whole_runs(points, runs, "fp32", "litert")


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
