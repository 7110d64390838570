"""The emulated ARM target: what it prices, what it refuses, and what it says about itself."""

import json
import subprocess
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.emulated.analytic import analytic_ms, second_opinion
from nas_sv2.latency.emulated.arm_cores import CORE_NAMES, CORES, PRECISIONS
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.kernel_table import (
    EXTRAPOLATION,
    MOST_SIDE,
    KernelTable,
    table_text,
    term,
)
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.space.experiments.further import further_tables
from nas_sv2.space.experiments.paper import paper_tables
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Add, Conv, Graph, GraphBuilder, Op, Value
from nas_sv2.space.graph.resizing import resized
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.reference import REFERENCES, reference

TABLE = KernelTable.load()
SCALES = ("0_5", "1_0", "1_5", "2_0")
PUBLISHED_IMAGES_PER_S = (57.0, 24.4, 11.8, 6.7)  # Table 8, ARM column
WORST = 0.36  # as the note says


@cache
def table_of(core: str, precision: ArmPrecision) -> KernelTable:
    return KernelTable.load(core, precision)


@pytest.fixture(scope="module")
def target() -> EmulatedArm:
    return EmulatedArm.open()


def v2(scale: str) -> Architecture:
    return reference(f"shufflenet_v2_x{scale}")


def graph_of(build: GraphBuilder, source: Value) -> Graph:
    return Graph(source, build.ops[-1].output, tuple(build.ops))


def pointwise(into: int, out: int, side: int = 28) -> Kernel:
    build, source = GraphBuilder(), Value("input", into, side, side)
    build.conv("conv", source, out, activation="relu")
    return kernels_of(graph_of(build, source))[0]


# Prices


@pytest.mark.parametrize("lowering", ["plain", "shuffle_free"])
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_every_reference_network_has_a_price(name: str, lowering: str) -> None:
    latency = EmulatedArm(TABLE, lowering=lowering).estimate(reference(name))  # type: ignore[arg-type]
    assert 5 < latency.ms < 10_000
    assert "beyond" not in latency.note


@pytest.mark.parametrize("side", [32, 64, 96, 128, 160, 192, 224, 256])
def test_every_calibrated_resolution_has_a_price(target: EmulatedArm, side: int) -> None:
    architecture = replace(v2("1_0"), resolution=side)
    assert target.estimate(architecture).ms < 1.01 * target.estimate(v2("1_0")).ms * (
        (max(side, 224) / 224) ** 2
    )


@pytest.mark.parametrize("core", CORE_NAMES)
def test_every_network_of_the_paper_has_a_price(core: str) -> None:
    target = EmulatedArm.open(core, lowering="plain")
    for name, structure in STRUCTURES.items():
        network = PaperNetwork(name, structure.resolution)
        assert target.uncovered(network) == []
        ms_per_gflop = target.estimate(network).ms / (cost_of(lower(network)).flops / 1e9)
        # One multiply-add takes from a quarter of a cycle of the fastest core to many.
        assert 50 < ms_per_gflop < 5000, name


@pytest.mark.parametrize("core", CORE_NAMES)
def test_every_controlled_experiment_has_a_price(core: str) -> None:
    target = EmulatedArm.open(core, lowering="plain")
    for table in (*paper_tables("ARM"), *further_tables()):
        for experiment in table.experiments:
            assert target.uncovered(experiment.network) == [], (table.name, experiment.variant)
            assert target.estimate(experiment.network).ms > 0


def test_groups_and_unequal_channels_cost_more_at_equal_flops() -> None:
    """G1 and G2, whose ordering the paper found on its ARM core too."""
    target = EmulatedArm.open(lowering="plain")
    for table in paper_tables("ARM")[:2]:
        for group in table.groups:
            ms_per_flop = [
                target.estimate(each.network).ms / cost_of(each.network.graph).flops
                for each in group
            ]
            assert ms_per_flop[0] == min(ms_per_flop), (table.name, group[0].group)


def test_price_is_the_sum_of_its_kernels(target: EmulatedArm) -> None:
    plain = replace(target, lowering="plain")
    times = plain.kernel_times(v2("1_0"))
    assert sum(node.us for node in times) / 1e3 == pytest.approx(plain.estimate(v2("1_0")).ms)
    assert all(node.us > 0 for node in times)
    assert [node.name for node in times][:3] == [
        "stem.0",
        "stem.pool",
        "stage2.0.shortcut.depthwise",
    ]


def test_v2_is_priced_near_its_published_speed(target: EmulatedArm) -> None:
    prices = [replace(target, lowering="plain").estimate(v2(scale)).ms for scale in SCALES]
    assert prices == sorted(prices)
    for ms, images_per_s in zip(prices, PUBLISHED_IMAGES_PER_S, strict=True):
        assert abs(ms * images_per_s / 1000 - 1) < WORST


def test_without_shuffles_costs_less(target: EmulatedArm) -> None:
    plain = replace(target, lowering="plain")
    for scale in SCALES:
        assert target.estimate(v2(scale)).ms < plain.estimate(v2(scale)).ms


@given(st.integers(4, 400), st.integers(4, 400), st.integers(0, 64), st.integers(0, 64))
def test_more_channels_never_cost_less(into: int, out: int, more: int, further: int) -> None:
    small, large = pointwise(into, out), pointwise(into + more, out + further)
    assert 0 < TABLE.cycles(small) <= TABLE.cycles(large)


widths = st.integers(2, 14).map(lambda eighth: 8 * eighth)


@given(
    st.tuples(widths, widths, widths),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.sampled_from((3, 5, 7)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
def test_a_deeper_network_costs_more(
    steps: tuple[int, int, int],
    depths: tuple[int, int, int],
    kernel: int,
    se: bool,
    residual: bool,
    wide_field: bool,
    where: int,
) -> None:
    def network(depths: list[int]) -> Architecture:
        width, stages = 24, []
        for depth, step in zip(depths, steps, strict=True):
            width += step
            stages.append(Stage(depth, width, Fraction(1, 4), kernel, se, residual, wide_field))
        return Architecture((24,), tuple(stages), 1024)

    plain, more = EmulatedArm(TABLE, lowering="plain"), list(depths)
    more[where] += 1
    assert 0 < plain.estimate(network(list(depths))).ms < plain.estimate(network(more)).ms


# What onnxruntime fuses


def test_kernels_are_what_onnxruntime_runs() -> None:
    build, source = GraphBuilder(), Value("input", 16, 28, 28)
    passed, convolved = build.split("split", source, (8, 8))
    value = build.conv("convolve", convolved, 8)
    value = build.activation("relu", build.add("add", passed, value), "relu")
    gate = build.activation("sigmoid", build.gate("gate", value, 8), "sigmoid")
    alone = build.add("alone", value, gate)
    build.activation("last", alone, "relu")
    kernels = kernels_of(graph_of(build, source))
    assert [(kernel.kind, kernel.fused) for kernel in kernels] == [
        ("split", ()),
        ("pointwise", ("add", "relu")),
        ("pointwise", ("sigmoid",)),
        ("add", ()),
        ("relu", ()),
    ]
    assert kernels[1].ops == ("convolve", "add", "relu")


def test_nothing_is_fused_that_another_operator_reads() -> None:
    build, source = GraphBuilder(), Value("input", 16, 28, 28)
    value = build.conv("convolve", source, 16)
    build.add("add", value, build.activation("relu", value, "relu"))
    assert [kernel.kind for kernel in kernels_of(graph_of(build, source))] == [
        "pointwise",
        "relu",
        "add",
    ]


def test_relu6_is_fused_and_a_kind_of_its_own() -> None:
    build, source = GraphBuilder(), Value("input", 16, 28, 28)
    value = build.conv("expand", source, 96, activation="relu6")
    value = build.conv("depthwise", value, 96, 3, depthwise=True, activation="relu6")
    value = build.add("add", source, build.conv("project", value, 16))
    build.activation("last", value, "relu6")
    assert [(kernel.kind, kernel.fused) for kernel in kernels_of(graph_of(build, source))] == [
        ("pointwise clipped", ("relu6",)),
        ("depthwise 3x3 s1 clipped", ("relu6",)),
        ("pointwise summed", ("add",)),
        ("relu6", ()),
    ]


def test_a_sum_is_fused_into_the_first_convolution_that_it_alone_reads() -> None:
    build, source = GraphBuilder(), Value("input", 16, 28, 28)
    value = build.add("both", build.conv("first", source, 16), build.conv("second", source, 16))
    build.add("again", value, build.conv("third", value, 16, 3))
    assert [(kernel.kind, kernel.ops) for kernel in kernels_of(graph_of(build, source))] == [
        ("pointwise", ("second",)),
        ("pointwise summed", ("first", "both")),
        ("conv 3x3 s1 summed", ("third", "again")),
    ]


def test_relu6_costs_more_than_relu() -> None:
    prices = []
    for function in ("relu", "relu6"):
        build, source = GraphBuilder(), Value("input", 96, 14, 14)
        build.conv("depthwise", source, 96, 3, depthwise=True, activation=function)
        (kernel,) = kernels_of(graph_of(build, source))
        prices.append(TABLE.cycles(kernel))
    assert prices[0] < prices[1] < 1.1 * prices[0]


def test_a_convolution_without_padding_is_a_kind_of_its_own() -> None:
    build, source = GraphBuilder(), Value("input", 3, 224, 224)
    build.conv("stem", source, 32, 3, stride=2, padded=False)
    (kernel,) = kernels_of(graph_of(build, source))
    assert kernel.kind == "conv 3x3 s2 unpadded"


def test_what_nobody_reads_is_not_run() -> None:
    build, source = GraphBuilder(), Value("input", 16, 28, 28)
    value = build.add("add", source, build.conv("convolve", source, 16))
    build.split("dead", value, (8, 8))
    build.activation("relu", value, "relu")
    (kernel,) = kernels_of(graph_of(build, source))
    assert kernel.fused == ("add", "relu")


# Refusals: never a silent zero


WITHOUT_FORMULAS = replace(TABLE, formulas={})


def refused(graph: Graph, table: KernelTable = TABLE) -> str:
    with pytest.raises(MeasurementError) as caught:
        [table.cycles(kernel) for kernel in kernels_of(graph)]
    return str(caught.value)


def test_an_unknown_map_is_refused_with_the_known_ones_if_a_table_has_no_formulas() -> None:
    target = EmulatedArm(WITHOUT_FORMULAS)
    with pytest.raises(MeasurementError, match=r"stem\.0 .*conv 3x3 s2 @231.*side .*224"):
        target.estimate(replace(v2("1_0"), resolution=231))


def test_a_map_beyond_the_longest_side_is_refused() -> None:
    graph = resized(lower(v2("0_5")), Value("input", 3, 64, MOST_SIDE + 1))
    assert f"maps of up to {MOST_SIDE} pixels a side are covered" in refused(graph)


def test_unknown_kind_is_refused_with_the_known_ones() -> None:
    source = Value("input", 16, 28, 28)
    conv = Op("grouped", Conv(5, groups=2), (source,), (Value("grouped", 16, 28, 28),))
    message = refused(Graph(source, conv.output, (conv,)))
    assert "grouped (conv g2 5x5 s1 @28, 16 → 16 channels)" in message
    assert "pointwise" in message


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("shufflenet_v1_g3_x1_0", "conv g3 1x1 s1"),
        ("mobilenet_v2_x1_0", "relu6"),
        ("light_densenet_x1_0", "norm"),
    ],
)
def test_int8_is_refused_where_an_operator_has_no_price(name: str, operator: str) -> None:
    target = EmulatedArm.open(precision="int8", lowering="plain")
    missing = target.uncovered(PaperNetwork(name))
    assert operator in missing
    with pytest.raises(MeasurementError, match=missing[0]):
        target.estimate(PaperNetwork(name))


def test_oblong_map_is_refused_if_a_table_has_no_formulas() -> None:
    source = Value("input", 16, 28, 14)
    add = Op("sum", Add(), (source, source), (Value("sum", 16, 28, 14),))
    assert "add @28x14" in refused(Graph(source, add.output, (add,)), WITHOUT_FORMULAS)


def test_unknown_fusion_is_refused() -> None:
    build, source = GraphBuilder(), Value("input", 16, 28, 28)
    build.activation("gates", build.conv("depthwise", source, 16, 3, depthwise=True), "sigmoid")
    assert "alone or with relu" in refused(graph_of(build, source))


def test_channels_far_beyond_the_calibrated_are_refused() -> None:
    most = TABLE.entries["pointwise @28"].channels_in[1]
    allowed = int(most * EXTRAPOLATION)
    table = WITHOUT_FORMULAS
    assert table.extrapolates(pointwise(allowed, 8))
    assert table.cycles(pointwise(allowed, 8)) > table.cycles(pointwise(most, 8))
    with pytest.raises(MeasurementError, match=f"to {most} input channels are calibrated"):
        table.cycles(pointwise(allowed + 1, 8))
    widest = TABLE.formulas["pointwise"].channels_in[1]
    with pytest.raises(MeasurementError, match=f"to {widest} input channels are calibrated"):
        TABLE.cycles(pointwise(int(widest * EXTRAPOLATION) + 1, 8))


# Maps that no entry has


@given(
    st.sampled_from(CORE_NAMES),
    st.sampled_from(PRECISIONS),
    st.integers(16, MOST_SIDE),
    st.integers(16, MOST_SIDE),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_input_has_a_price_near_that_of_inputs_around_it(
    core: str, precision: ArmPrecision, height: int, width: int, channels: int, free: bool
) -> None:
    table = table_of(core, precision)
    graph = lower(v2("0_5"))
    if free or precision == "int8":  # a shuffle in int8 has no formula
        graph = without_shuffles(graph, {})[0]

    def price(height: int, width: int) -> float:
        graph_there = resized(graph, Value("input", channels, height, width))
        return sum(map(table.cycles, kernels_of(graph_there, precision)))

    here = price(height, width)
    assert here < 1.02 * price(min(2 * height, MOST_SIDE), min(2 * width, MOST_SIDE))
    assert here > 0.9 * price(max(height // 2, 16), max(width // 2, 16))


@pytest.mark.parametrize("name", ["mobilenet_v2_x1_0", "shufflenet_v1_g3_x1_0", "igcv2_x1_0"])
@pytest.mark.parametrize("side", [100, 300])
def test_a_published_network_has_a_price_at_other_inputs(name: str, side: int) -> None:
    network = PaperNetwork(name, side)
    target = EmulatedArm(TABLE, lowering="plain")
    known = target.estimate(replace(network, resolution=224)).ms
    assert target.estimate(network).ms / known == pytest.approx((side / 224) ** 2, rel=0.45)


def test_a_calibrated_map_is_priced_by_its_entry() -> None:
    kernel = pointwise(58, 58)
    assert TABLE.cycles(kernel) == TABLE.entries[kernel.key].of(kernel)
    assert not TABLE.is_by_formula(kernel)
    assert TABLE.is_by_formula(pointwise(58, 58, side=29))


@pytest.mark.parametrize("core", CORE_NAMES)
def test_formulas_are_near_the_entries(core: str) -> None:
    table = table_of(core, "fp32")
    for side in (10, 14, 28, 56, 112):
        kernel = pointwise(64, 96, side)
        formula = table.formulas[kernel.kind].of(kernel)
        assert formula == pytest.approx(table.cycles(kernel), rel=0.05)


def test_kernels_on_other_maps_are_noted(target: EmulatedArm) -> None:
    assert "by a formula" not in target.estimate(v2("1_0")).note
    note = target.estimate(replace(v2("1_0"), resolution=300)).note
    assert "68 of 90 kernels by a formula of the map" in note


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("rows", 14),
        ("columns", 7),
        ("area", 98),
        ("read", 27 * 14),
        ("inner", 5),
        ("deep", 3),
        ("rows*inner%4", 14),
        ("area^16*out", 112 * 16),
        ("area>2", 1),
        ("columns<2", 2),
    ],
)
def test_a_term_counts_the_map_that_is_written(name: str, factor: float) -> None:
    build, source = GraphBuilder(), Value("input", 16, 27, 14)
    build.conv("conv", source, 16, 3, stride=2, depthwise=True)
    (kernel,) = kernels_of(graph_of(build, source))
    assert term(name, kernel) == factor


def test_what_a_kernel_writes_is_what_its_graph_says() -> None:
    for name in STRUCTURES:
        graph = PaperNetwork(name, 111).graph
        ops = {op.name: op for op in graph.ops}
        for kernel in kernels_of(graph):
            output = ops[kernel.ops[0]].output
            if kernel.kind not in ("average pool", "linear"):
                assert kernel.written == (output.height, output.width), kernel.kind


def test_extrapolation_is_noted(target: EmulatedArm) -> None:
    architecture = v2("1_0")
    most = TABLE.entries["pointwise @7"].channels_out[1]
    assert "beyond the calibrated" in target.estimate(replace(architecture, head=most + 8)).note


def test_unknown_term_is_refused() -> None:
    with pytest.raises(DeviceError, match="unknown term 'cubed'"):
        term("in*cubed", pointwise(8, 8))


# What it says about itself


def test_target_says_what_it_is(target: EmulatedArm) -> None:
    latency = target.estimate(v2("0_5"))
    assert target.name == "arm"
    assert target.provenance == latency.provenance == "emulated"
    assert [latency.ci_ms, latency.p95_ms, latency.runs, latency.contended] == [None] * 4
    assert "±11.7%" in latency.note
    assert "worst 36%" in latency.note
    assert latency.device.startswith("arm: Cortex-A57 model · onnxruntime 1.")
    assert latency.device.endswith("aarch64 kernels · 1 thread · batch 1 · fp32")
    target.close()


def test_metadata_is_complete() -> None:
    metadata = TABLE.metadata
    assert set(metadata["versions"]) == {"onnxruntime", "qemu", "llvm"}
    assert all(metadata[key] for key in ("meaning", "method", "built", "core", "guest"))
    assert "Table 8" in metadata["scale"]["origin"]
    assert metadata["published"]["worst"] == WORST
    assert metadata["fit"]["entries"] == len(TABLE.entries)
    assert metadata["fit"]["error_mean"] < 0.015


def test_no_entry_is_negative_or_free() -> None:
    for key, entry in (*TABLE.entries.items(), *TABLE.formulas.items()):
        assert min(entry.cycles.values()) > 0, key
        assert entry.channels_in[0] <= entry.channels_in[1], key


# Every shipped core and precision


SHIPPED = [
    (core, precision)
    for core in CORE_NAMES
    for precision in PRECISIONS
    if precision in json.loads(table_text(core))["tables"]
]


@pytest.mark.parametrize(("core", "precision"), SHIPPED)
@pytest.mark.parametrize("lowering", ["plain", "shuffle_free"])
def test_every_shipped_table_prices_every_reference(
    core: str, precision: ArmPrecision, lowering: Lowering
) -> None:
    target = EmulatedArm.open(core, precision, name="board", lowering=lowering)
    for name in sorted(REFERENCES):
        latency = target.estimate(reference(name))
        assert 1 < latency.ms < 20_000
        assert "beyond" not in latency.note or (precision, name) == (
            "int8",
            "se_shufflenet_v2_164",
        )
        assert latency.device.startswith(f"board: {CORES[core].title} model")
        assert latency.device.endswith(precision)


@pytest.mark.parametrize("core", CORE_NAMES)
def test_only_the_core_with_published_speeds_states_an_error(core: str) -> None:
    note = EmulatedArm.open(core).table.note
    assert ("typical error" in note) == (core == "cortex-a57")
    assert ("assume" in note) == (core != "cortex-a57")


def test_a_clock_scales_the_figure_and_is_said() -> None:
    usual, twice = EmulatedArm.open("cortex-a53"), EmulatedArm.open("cortex-a53", clock_ghz=2.8)
    ms = usual.estimate(v2("1_0")).ms
    assert twice.estimate(v2("1_0")).ms == pytest.approx(ms / 2, rel=1e-5)
    assert "2.8 GHz" in twice.estimate(v2("1_0")).note


@pytest.mark.parametrize(("clock_ghz", "analytic"), [(None, "41.9"), (1.0, "82.1"), (3.0, "27.4")])
def test_the_analytic_figure_is_of_the_same_clock(clock_ghz: float | None, analytic: str) -> None:
    """It was that of 1.958 GHz, which disagrees with any other clock."""
    note = EmulatedArm.open(clock_ghz=clock_ghz).estimate(v2("1_0")).note
    assert note.endswith(f"; analytic {analytic} ms")


def test_a_shipped_table_is_read_once_and_a_file_of_the_users_each_time(tmp_path: Path) -> None:
    assert KernelTable.load("cortex-a57").entries is KernelTable.load("cortex-a57").entries
    file, digests = tmp_path / "own.json", []
    for core in ("cortex-a57", "cortex-a53"):
        file.write_text(table_text(core))
        digests.append(KernelTable.load(file).digest)
    assert digests == [KernelTable.load(core).digest for core in ("cortex-a57", "cortex-a53")]


def test_an_unknown_core_or_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cortex-a53, cortex-a55"):
        EmulatedArm.open("cortex-a99")
    file = tmp_path / "only_fp32.json"
    document = json.loads(table_text("cortex-a57"))
    document["tables"] = {"fp32": document["tables"]["fp32"]}
    file.write_text(json.dumps(document))
    assert EmulatedArm.open(file=file).estimate(v2("0_5")).ms > 0
    with pytest.raises(
        ConfigError, match=r"^precision must be fp32, which \S+ holds; got 'int8'$"
    ):
        EmulatedArm.open(precision="int8", file=file)
    with pytest.raises(ConfigError, match=r"precision must be fp32 or int8 .*; got 'fp16'"):
        EmulatedArm.open().with_plan(precision="fp16")
    with pytest.raises(ConfigError, match=r"^core must be cortex-a57, .*; got 'cortex-a53'$"):
        EmulatedArm.open("cortex-a53", file=file)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 1}'])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "table.json"
    file.write_text(text)
    with pytest.raises(DeviceError, match=r"table\.json"):
        EmulatedArm.open(file=file)
    with pytest.raises(DeviceError, match="no table of kernel costs can be read"):
        EmulatedArm.open(file=tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"cycles": {"out%0": 1}}, "unknown term 'out%0'; the table is of another version"),
        ({"cycles": {"in*cubed": 1}}, "unknown term 'cubed'"),
        ({"cycles": {"out": -0.5}}, "Expected `float` >= 0.0"),
        ({"cycles": {}}, "Expected `object` of length >= 1"),
        ({"channels_in": [1]}, "Expected `array` of length 2, got 1"),
        ({"channels_out": [0, 8]}, "Expected `int` >= 1"),
        ({"parts": 0}, "Expected `int` >= 1"),
        ({"fused": "relu"}, "Expected `array`, got `str`"),
        ({"fused": ["\x1b[2J"]}, "Expected `str` matching regex"),
    ],
)
def test_a_damaged_cost_is_refused_as_the_table_is_read(
    tmp_path: Path, change: dict[str, object], fault: str
) -> None:
    document = json.loads(table_text("cortex-a57"))
    document["tables"]["fp32"]["entries"]["pointwise @28"] |= change
    assert f"table.json is no table of kernel costs: {fault}" in refusal(tmp_path, document)


def test_a_table_of_no_core_or_without_maps_is_refused(tmp_path: Path) -> None:
    document = json.loads(table_text("cortex-a57"))
    entries = document["tables"]["fp32"]["entries"]
    entries["pointwise"] = entries["pointwise @28"]
    assert "a key of an entry must be KIND @SIDE" in refusal(tmp_path, document)
    del entries["pointwise"], document["core"]
    assert "missing required field `core`" in refusal(tmp_path, document)


def refusal(folder: Path, document: object) -> str:
    file = folder / "table.json"
    file.write_text(json.dumps(document))
    with pytest.raises(DeviceError) as caught:
        EmulatedArm.open(file=file)
    return str(caught.value)


def test_no_estimate_starts_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an estimate started a process")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    for core, precision in SHIPPED:
        assert EmulatedArm.open(core, precision).estimate(v2("0_5")).ms > 0


# The second opinion


def test_the_analytic_figure_stands_beside_the_emulated_one(target: EmulatedArm) -> None:
    assert "analytic" in target.estimate(v2("1_0")).note
    assert "analytic" not in EmulatedArm.open("cortex-a76").estimate(v2("1_0")).note


def test_disagreement_is_flagged() -> None:
    graph = lower(v2("1_0"))
    ms = analytic_ms(graph)
    assert "disagrees" not in second_opinion(graph, ms * 1.29)
    assert "disagrees" in second_opinion(graph, ms * 1.31)
    assert "disagrees" in second_opinion(graph, ms / 1.31)


def test_a_network_of_pools_and_moves_alone_has_a_price() -> None:
    """None of the three counts of the analytic model sees it, and an empty graph has no kernel."""
    build, image = GraphBuilder(), Value("input", 24, 56, 56)
    pooled = build.max_pool("pool", image)
    graph = Graph(image, pooled, tuple(build.ops))
    assert second_opinion(graph, 0.5).startswith("analytic 0 ms, which disagrees")
    assert second_opinion(Graph(image, image, ()), 0.0) == "analytic 0 ms"


@pytest.mark.parametrize(
    ("scale", "images_per_s"), [*zip(SCALES, PUBLISHED_IMAGES_PER_S, strict=True)]
)
def test_the_analytic_figure_is_near_the_published(scale: str, images_per_s: float) -> None:
    assert analytic_ms(lower(v2(scale))) * images_per_s / 1000 == pytest.approx(1, abs=0.2)
