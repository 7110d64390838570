"""Emulated cores with kernels of LiteRT and ncnn: what they price, how near they are."""

import dataclasses
import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.emulated.arm_cores import CORES, FITS, TITLES
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.kernel_table import KernelTable, moved_bytes, table_text
from nas_sv2.latency.kernels.kernel import ArmRuntime, plain_kernel
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.latency.targets.catalogue import CatalogueDevice, catalogue
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.graph.resizing import resized
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.onnx_models.model import load_model
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.reference import REFERENCES, reference

CASES = [(runtime, core) for runtime, fits in FITS.items() for core in fits]
ONNXRUNTIME_DIGESTS = {
    "cortex-a53": ("fd53e24cbace4aeb", "a7466a681541f5c2"),
    "cortex-a55": ("e13c5f66005a69e3", "5bf0f5dfbe1cebcf"),
    "cortex-a57": ("a1bd39532a63a025", "a744b478e09eda24"),
    "cortex-a76": ("22588ba0d1ef9bac", "c07c9013e36b8e7c"),
}


@cache
def target(
    core: str, lowering: Lowering = "shuffle_free", runtime: ArmRuntime = "litert"
) -> EmulatedArm:
    precision = FITS[runtime][core].precision
    return EmulatedArm.open(core, precision, lowering=lowering, runtime=runtime)


@pytest.mark.parametrize(("runtime", "core"), CASES)
@pytest.mark.parametrize("lowering", ["plain", "shuffle_free"])
def test_every_reference_network_has_a_price(
    runtime: ArmRuntime, core: str, lowering: Lowering
) -> None:
    for name in REFERENCES:
        latency = target(core, lowering, runtime).estimate(reference(name))
        assert 1 < latency.ms < 10_000, name
        assert latency.provenance == "emulated"
        assert TITLES[runtime] in latency.device
        assert f"published {TITLES[runtime]} speeds" in latency.note
        assert "by a formula of the map" not in latency.note
        assert "beyond the calibrated" not in latency.note or runtime == "litert"


@settings(max_examples=30)
@given(
    st.integers(0, 10_000),
    st.sampled_from(sorted(LEVELS)),
    st.sampled_from(CASES),
    st.integers(32, 300),
    st.integers(32, 300),
)
def test_every_network_of_the_spaces_has_a_price_at_any_input(
    seed: int, space: str, case: tuple[ArmRuntime, str], height: int, width: int
) -> None:
    network = LEVELS[space].sample(RandomSuggester(random.Random(seed)))
    graph = resized(lower(network), Value("input", 3, height, width))
    table = target(case[1], runtime=case[0]).table
    assert all(table.cycles(kernel) > 0 for kernel in table.kernels(graph))


@pytest.mark.parametrize("core", FITS["litert"])
def test_channels_that_fill_tiles_are_cheaper(core: str) -> None:
    def cycles(out: int) -> float:
        build, source = GraphBuilder(), Value("input", 64, 14, 14)
        build.conv("conv", source, out)
        return target(core).table.cycles(
            dataclasses.replace(
                plain_kernel(build.ops[-1]), kind="pointwise" + " ragged" * bool(out % 8)
            )
        )

    assert cycles(120) < cycles(116)


def test_a_depthwise_convolution_of_7x7_has_no_kernel_of_its_own_in_xnnpack() -> None:
    def cycles(kernel: int) -> float:
        build, source = GraphBuilder(), Value("input", 64, 14, 14)
        build.conv("conv", source, 64, kernel, depthwise=True)
        return target("cortex-a76").table.cycles(plain_kernel(build.ops[-1]))

    assert cycles(7) / 49 > 5 * cycles(5) / 25


@pytest.mark.parametrize(
    ("core", "channels"),
    # In fp16 ncnn has no kernel of its own for four channels together, and takes longest.
    [
        ("cortex-a53", (60, 58)),
        ("cortex-a55", (64, 58, 60)),
        ("cortex-a57", (60, 58)),
        ("cortex-a76", (64, 58, 60)),
    ],
)
def test_the_layout_decides_the_time_of_a_depthwise_convolution(
    core: str, channels: tuple[int, ...]
) -> None:
    table = target(core, runtime="ncnn").table

    def cycles(channels: int) -> float:
        build, source = GraphBuilder(), Value("input", channels, 28, 28)
        build.conv("conv", source, channels, 3, depthwise=True)
        (kernel,) = table.kernels(Graph(source, build.ops[-1].output, tuple(build.ops)))
        return table.cycles(kernel)

    times = list(map(cycles, channels))
    assert times == sorted(times)


# What is refused


def test_a_kind_that_is_not_covered_is_named() -> None:
    with pytest.raises(MeasurementError, match=r"shuffle @56.*the kinds covered are add, "):
        target("cortex-a76").estimate(published_network("shufflenet_v1_g3_x1_0"))


def test_a_core_or_precision_without_kernels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^core must be one of cortex-a55"):
        EmulatedArm.open("cortex-a53", runtime="litert")
    with pytest.raises(ConfigError, match=r"^precision must be fp16 with ncnn on the cortex-a76"):
        EmulatedArm.open("cortex-a76", runtime="ncnn")
    with pytest.raises(ConfigError, match=r"^precision must be fp32 with ncnn"):
        EmulatedArm.open("cortex-a57", "int8", runtime="ncnn")
    with pytest.raises(ConfigError, match=r"^precision must be fp32 or int8 with onnxruntime"):
        EmulatedArm.open("cortex-a76", "fp16")
    with pytest.raises(ConfigError, match=r"^precision must be fp32 with litert"):
        EmulatedArm.open("cortex-a76", "int8", runtime="litert")
    with pytest.raises(ConfigError, match=r"^precision must be fp32 with litert"):
        target("cortex-a76").with_plan(precision="int8")


def test_a_table_of_another_runtime_is_refused(tmp_path: Path) -> None:
    for own, other in (("litert", "onnxruntime"), ("onnxruntime", "litert")):
        file = tmp_path / f"{own}.json"
        file.write_text(table_text("cortex-a76", own))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=rf"^runtime must be {own}, .*; got '{other}'$"):
            EmulatedArm.open("cortex-a76", file=file, runtime=other)  # type: ignore[arg-type]
        assert EmulatedArm.open("cortex-a76", file=file, runtime=own)  # type: ignore[arg-type]


@pytest.mark.parametrize("per_byte", [-1, "1", None, float("nan")])
def test_a_damaged_cost_of_memory_is_refused(per_byte: object, tmp_path: Path) -> None:
    document = json.loads(table_text("cortex-a76", "litert"))
    document["tables"]["fp32"]["memory"]["cycles_per_byte"] = per_byte
    file = tmp_path / "table.json"
    file.write_text(json.dumps(document))
    with pytest.raises(DeviceError, match="no table of kernel costs"):
        EmulatedArm.open("cortex-a76", file=file, runtime="litert")


def test_an_onnx_file_is_refused(tmp_path: Path) -> None:
    graph = lower(reference("shufflenet_v2_x0_5"))
    file = tmp_path / "mine.onnx"
    file.write_bytes(build_onnx(graph, random_weights(graph, seed=0)))
    with pytest.raises(ConfigError, match=r"^runtime must be onnxruntime to run"):
        target("cortex-a76").estimate(load_model(file))


# Identity


def test_tables_of_onnxruntime_are_as_they_were() -> None:
    for core, digests in ONNXRUNTIME_DIGESTS.items():
        for precision, digest in zip(("fp32", "int8"), digests, strict=True):
            assert KernelTable.load(core, precision).digest == digest  # type: ignore[arg-type]


def test_runtime_and_cost_of_memory_are_part_of_the_identity() -> None:
    for runtime, core in CASES:
        table = target(core, runtime=runtime).table
        others = (
            KernelTable.load(core),
            dataclasses.replace(table, cycles_per_byte=table.cycles_per_byte + 1),
            table.with_scale(1e6, "another clock"),
        )
        assert table.digest not in {other.digest for other in others}


def test_a_clock_of_the_users_scales_by_the_share_of_litert() -> None:
    at_2, at_1 = (
        EmulatedArm.open("cortex-a76", clock_ghz=ghz, runtime="litert") for ghz in (2.0, 1.0)
    )
    network = reference("shufflenet_v2_x1_0")
    assert at_1.estimate(network).ms == pytest.approx(2 * at_2.estimate(network).ms)
    share = FITS["litert"]["cortex-a76"].efficiency
    assert at_1.table.cycles_per_ms == pytest.approx(share * 1e6)


def test_moved_bytes_are_those_of_the_maps() -> None:
    build, source = GraphBuilder(), Value("input", 8, 14, 14)
    build.conv("conv", source, 16, 3, stride=2)
    build.add("add", source, source)
    build.global_average_pool("pool", source)
    moved = [moved_bytes(plain_kernel(op)) for op in build.ops]
    assert moved == [4 * (8 * 196 + 16 * 49), 4 * 3 * 8 * 196, 4 * (8 * 196 + 8)]
    halves = [moved_bytes(plain_kernel(op), "fp16") for op in build.ops]
    assert [2 * each for each in halves] == moved


# Nearness to real devices


@pytest.mark.parametrize("runtime", FITS)
def test_published_speeds_are_met_as_the_note_says(runtime: ArmRuntime) -> None:
    errors: dict[str, list[float]] = {}
    for device in catalogue().values():
        if not isinstance(device, CatalogueDevice) or device.kernels != runtime:
            continue
        fit = FITS[runtime][device.table]
        assert device.error.worst < fit.worst + 0.005, device.name
        errors.setdefault(fit.devices, []).append(device.error.typical)
    for fit in FITS[runtime].values():
        assert np.mean(errors[fit.devices]) == pytest.approx(fit.typical, abs=0.001)


def test_families_are_in_the_published_ratio_on_a_cortex_a76() -> None:
    """Others measured V2 1.5× as 1.02 to 1.33 times as fast as MobileNet V2."""
    names = "mobilenet_v2_x1_0", "shufflenet_v2_x1_5"
    mobile, shuffle = (target("cortex-a76").estimate(published_network(name)).ms for name in names)
    assert 1.02 < mobile / shuffle < 1.33


@pytest.mark.parametrize(("runtime", "core"), CASES)
def test_the_clock_of_a_board_is_not_exceeded(runtime: ArmRuntime, core: str) -> None:
    fit, shipped = FITS[runtime][core], target(core, runtime=runtime).table
    assert 0 < fit.efficiency < 1
    assert shipped.cycles_per_ms == pytest.approx(CORES[core].cycles_per_ms(runtime=runtime))
    assert shipped.cycles_per_byte == fit.cycles_per_byte
