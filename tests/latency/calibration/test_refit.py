"""A table's scale refitted to a real device; the device here is made up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.latency.calibration.refit import least_error_scale, refit_scale, save_refit
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.kernel_table import Table
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

TABLE = Table.load("cortex-a53")
NAMES = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_se_x0_5", "shufflenet_v2_x2_0")
TRUE_SCALE = 8e5  # cycles a ms of the made-up device


def measured(factors: Sequence[float] = (1, 1, 1, 1)) -> list[tuple[Graph, float]]:
    graphs = [lower(reference(name)) for name in NAMES]
    return [
        (graph, factor * sum(map(TABLE.cycles, kernels_of(graph))) / TRUE_SCALE)
        for graph, factor in zip(graphs, factors, strict=True)
    ]


def test_a_device_that_the_table_fits_gives_its_scale() -> None:
    scale, error = refit_scale(TABLE, measured())
    assert scale == pytest.approx(TRUE_SCALE)
    assert error.networks == 4
    assert error.worst == pytest.approx(0, abs=1e-9)
    assert error.in_order == 1


def test_one_outlier_does_not_move_the_scale_and_is_reported() -> None:
    scale, error = refit_scale(TABLE, measured((1, 1, 2, 1)))
    assert scale == pytest.approx(TRUE_SCALE)
    assert error.worst == pytest.approx(0.5)
    assert error.typical == pytest.approx(0.125)
    assert error.unseen >= error.typical


def test_least_error_scale_has_the_least_mean_relative_error() -> None:
    guesses, truths = [1.0, 2.0, 5.0, 9.0], [1.1, 1.7, 6.0, 9.5]

    def error(scale: float) -> float:
        return sum(abs(scale * g / t - 1) for g, t in zip(guesses, truths, strict=True))

    best = least_error_scale(guesses, truths)
    assert error(best) == min(error(truth / guess) for guess in guesses for truth in truths)


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 3"):
        refit_scale(TABLE, measured()[:2])
    with pytest.raises(ConfigError, match="above 0"):
        refit_scale(TABLE, [(graph, 0.0) for graph, _ in measured()])


def test_a_refitted_table_can_be_used_and_says_so(tmp_path: Path) -> None:
    error = save_refit("cortex-a53", "fp32", measured((1, 1.1, 1, 1)), tmp_path / "mine.json")
    target = EmulatedArm.open("cortex-a53", name="board", file=tmp_path / "mine.json")
    latency = replace(target, lowering="plain").estimate(reference(NAMES[0]))
    assert latency.ms == pytest.approx(measured()[0][1], rel=1e-5)
    assert "fitted to 4 networks measured on the device" in latency.note
    assert str(error) in latency.note
    assert latency.provenance == "emulated"
