"""Calibrating an emulated core: what it needs, what it keeps, and once all of it under qemu.

A table's scale refitted to a real device; the device here is made up.
"""

import json
import random
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.calibration import table_file as calibration
from nas_sv2.latency.calibration import workshop as arm_workshop
from nas_sv2.latency.calibration.emulator import (
    CountedRun,
    Counts,
    Emulator,
    Node,
    PricedNode,
    Run,
    schedulable,
)
from nas_sv2.latency.calibration.fit import Overhead, Sample, fit, samples
from nas_sv2.latency.calibration.formulas import fit_formulas
from nas_sv2.latency.calibration.grid import (
    batches,
    output_pairs,
    overhead_points,
    published_batches,
)
from nas_sv2.latency.calibration.map_grid import map_batches
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.calibration.table_file import calibrate, save_refit
from nas_sv2.latency.emulated.arm_cores import CORES, PRECISIONS
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.kernel_table import KernelCost, KernelTable
from nas_sv2.latency.emulated.scale import least_error_scale, refit_scale
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

NO_TOOLS = arm_workshop.Tools(Path(), Path(), Path(), Path(), {})
NO_OVERHEAD = Overhead(0, 0, 0, 0)


def silent(what: str, share: float) -> None:
    assert 0 <= share <= 1


# What it needs


def test_what_is_missing_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "folder"
    with pytest.raises(DeviceError) as caught:
        calibrate("cortex-a57", folder, tmp_path / "table.json", silent)
    message = str(caught.value)
    assert all(name in message for name in ("qemu-aarch64", "llvm-mca", "llvm-mc", "gcc"))
    assert "apt-get install qemu-user llvm-19 gcc libc6-dev" in message
    assert "Debian or Ubuntu" in message
    assert not folder.exists()


def program(folder: Path, name: str, version: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{version}'\n")
    file.chmod(0o755)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("gcc", "apt-get", "dpkg"):
        program(tmp_path, name, "")
    program(tmp_path, "qemu-aarch64", "qemu-aarch64 version 7.2.22 (Debian)")
    for name in ("llvm-mca", "llvm-mc"):
        program(tmp_path, name, "Debian LLVM version 14.0.6")
        program(tmp_path, f"{name}-18", "Ubuntu LLVM version 18.1.3")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_newest_llvm_that_will_do_is_taken(programs: Path) -> None:
    tools = arm_workshop.find_tools()
    assert tools.llvm_mca == programs / "llvm-mca-18"
    assert tools.versions == {"qemu": "7.2.22", "llvm": "18.1.3"}


def test_an_old_llvm_will_not_do(programs: Path) -> None:
    (programs / "llvm-mc-18").unlink()
    with pytest.raises(DeviceError, match=r"LLVM 16 or later.*install llvm-19$"):
        arm_workshop.find_tools()


def test_a_qemu_of_another_plugin_interface_will_not_do(programs: Path) -> None:
    program(programs, "qemu-aarch64", "qemu-aarch64 version 10.0.2")
    with pytest.raises(DeviceError, match=r"10\.0\.2.*QEMU 5 to 8"):
        arm_workshop.find_tools()


def test_a_folder_that_cannot_be_made_is_refused_by_name(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^folder must be a place .*got '.*/file'$"):
        arm_workshop.prepare(tmp_path / "file")


def test_a_program_of_another_processor_is_named(programs: Path) -> None:
    (programs / "qemu-aarch64").write_bytes(b"\x7fELF of another processor")
    with pytest.raises(DeviceError, match="failed at qemu-aarch64 --version: Exec format error"):
        arm_workshop.find_tools()


def test_a_system_without_python_is_refused(programs: Path, tmp_path: Path) -> None:
    """The programs here fetch nothing."""
    with pytest.raises(DeviceError, match="sysroot has no Python; give a new folder"):
        arm_workshop.prepare(tmp_path / "folder")


def test_runtimes_of_one_folder_share_the_packages_that_both_need(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer numpy would be unpacked over the first, and files of both would stay."""
    fetched: list[str] = []

    def pip(command: Sequence[str | Path], what: str, environment: object = None) -> str:
        if "download" not in command:
            return "version 7.2.22"
        asked = [str(word) for word in command[command.index("manylinux2014_aarch64") + 1 :]]
        fetched.extend(asked)
        wheels = tmp_path / "folder" / "wheels"
        wheels.mkdir(exist_ok=True)
        for word in asked:
            name, _, version = word.replace("-", "_").partition("==")
            with zipfile.ZipFile(wheels / f"{word}-{len(fetched)}.whl", "w") as wheel:
                wheel.writestr(f"{name}-{version or len(fetched)}.dist-info/METADATA", "")
        return ""

    (tmp_path / "folder" / "sysroot" / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "folder" / "sysroot" / "usr" / "bin" / "python3.11").touch()
    (tmp_path / "folder" / "block_counts.so").touch()
    monkeypatch.setattr(arm_workshop, "_output", pip)
    monkeypatch.setattr(arm_workshop, "_installed", lambda runtime: "1.2")
    monkeypatch.setattr(
        arm_workshop, "_version", lambda tool: "19.0" if "llvm" in tool.name else "7.2"
    )
    arm_workshop.prepare(tmp_path / "folder")
    assert fetched == ["onnxruntime==1.2", "numpy", "flatbuffers", "packaging", "protobuf"]
    arm_workshop.prepare(tmp_path / "folder", "litert")
    assert fetched[5:] == ["ai-edge-litert==1.2"]
    assert len([*(tmp_path / "folder" / "packages").glob("numpy-*")]) == 1


def test_the_version_is_that_of_the_package_whatever_wheel_it_came_in(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "folder" / "packages"
    (packages / "onnxruntime-1.2.dist-info").mkdir(parents=True)
    (tmp_path / "folder" / "ready").touch()
    monkeypatch.setattr("onnxruntime.__version__", "1.2")
    shop = arm_workshop.prepare(tmp_path / "folder")
    assert shop.versions()["onnxruntime"] == "1.2"
    monkeypatch.setattr("onnxruntime.__version__", "1.3")
    with pytest.raises(DeviceError, match=r"holds onnxruntime 1\.2, but 1\.3 is installed"):
        arm_workshop.prepare(tmp_path / "folder")
    (packages / "onnxruntime-1.3.dist-info").mkdir()  # a fetch that was interrupted left the first
    with pytest.raises(DeviceError, match=r"onnxruntime-1\.2\S+, onnxruntime-1\.3\S+; give a new"):
        arm_workshop.prepare(tmp_path / "folder")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"none is: pip install onnxruntime$"):
        arm_workshop.prepare(tmp_path / "folder")


@pytest.mark.parametrize("side", [0, 31, 100])
def test_a_resolution_that_no_network_halves_five_times_is_refused(
    side: int, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^resolution must be divisible by 32"):
        calibrate("cortex-a57", tmp_path, tmp_path / "t.json", silent, resolutions=(side,))
    with pytest.raises(ConfigError, match="cortex-a53"):
        calibrate("cortex-a99", tmp_path, tmp_path / "t.json", silent)


# What is run


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_point_of_the_grid_has_a_name_of_its_own(precision: ArmPrecision) -> None:
    points = [p for batch in batches(precision, (224, 192)).values() for p in batch]
    names = [point.name for point in points]
    assert len(set(names)) == len(names)
    assert {p.name for p in overhead_points(precision, (224, 192))} <= set(names)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_kernels_on_other_maps_have_names_and_maps_of_their_own(precision: ArmPrecision) -> None:
    points = [p for batch in map_batches(precision).values() for p in batch]
    assert len({point.name for point in points}) == len(points)
    assert {point.graph.input.channels for point in points} >= {1, 2, 3, 4}
    oblong = sum(point.graph.input.height != point.graph.input.width for point in points)
    assert oblong > len(points) / 2
    for point in points:
        assert not point.priced or point.priced in {k.key for k in kernels_of(point.graph)}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_map_is_calibrated_once(precision: ArmPrecision) -> None:
    both, alone = batches(precision, (64, 32)), batches(precision, (32,))
    assert len(both["input_32"]) < len(alone["input_32"])


def test_a_network_of_the_paper_is_calibrated_where_it_runs_and_nowhere_else() -> None:
    at_160 = [name for name, one in STRUCTURES.items() if one.resolution == 160]
    assert at_160 == ["mobilenet_v2_x0_4"]
    kernels = kernels_of(PaperNetwork(at_160[0], 160).graph)
    covered = {key: {fused} for key, fused in {(k.key, k.fused) for k in kernels[2:]}}
    found = [p for points in published_batches((160,), {}).values() for p in points]
    assert {k.key for k in kernels} <= {point.priced for point in found}
    for point in found:
        assert point.priced in {kernel.key for kernel in kernels_of(point.graph)}
    left = [p for points in published_batches((160,), covered).values() for p in points]
    assert not {point.priced for point in left} & set(covered)


def test_one_kernel_of_a_point_is_priced_where_it_says_so() -> None:
    points = [p for points in published_batches((160,), {}).values() for p in points]
    (point,) = [p for p in points if p.name == "pointwise_summed_20_96_16_add_followed"]
    kernels = kernels_of(point.graph)
    assert [k.kind for k in kernels] == ["split", "pointwise summed", "max pool 1x1 s1"]
    assert [k.key == point.priced for k in kernels] == [False, True, False]


# What is kept


def counted() -> Counts:
    block, times = np.array([0, 1]), np.array([3, 5])
    node = Node("conv", "Conv", 4, (1, 8, 7, 7))
    profiled = CountedRun("one", (node, node), ((block, times), (block[:1], times[:1])))
    whole = CountedRun("two", (), ((block, times),))
    return Counts([b"abcd", b"efghijkl"], [profiled, whole])


def test_counts_are_read_as_they_were_written(tmp_path: Path) -> None:
    counted().save(tmp_path / "counts.npz")
    read = Counts.load(tmp_path / "counts.npz")
    assert list(read.blocks) == [b"abcd", b"efghijkl"]
    for ours, theirs in zip(read.runs, counted().runs, strict=True):
        assert (ours.model, ours.nodes) == (theirs.model, theirs.nodes)
        assert [s[1].tolist() for s in ours.segments] == [s[1].tolist() for s in theirs.segments]
    assert [file.name for file in tmp_path.iterdir()] == ["counts.npz"]


def test_counts_of_two_processes_are_joined_by_their_code() -> None:
    one, other = counted(), counted()
    other = Counts([b"efghijkl", b"new."], [replace(run, model="other") for run in other.runs])
    both = one.joined(other)
    assert list(both.blocks) == [b"abcd", b"efghijkl", b"new."]
    assert [run.model for run in both.runs] == ["one", "two", "other", "other"]
    assert both.runs[2].segments[0][0].tolist() == [1, 2]
    assert both.runs[2].segments[0][1].tolist() == [3, 5]


class Prices:
    def of(self, blocks: object) -> dict[bytes, float]:
        return {b"abcd": 1.0, b"efghijkl": 10.0}


def test_counts_have_a_price_on_any_core() -> None:
    one, two = counted().priced(Prices())  # type: ignore[arg-type]
    assert [node.cycles for node in one.nodes] == [53, 3]
    assert (one.cycles, two.cycles, two.nodes) == (56, 53, ())


@pytest.mark.parametrize(
    ("line", "priced"),
    [
        ("bl #-8", "b #-8"),
        ("blr x8", "br x8"),
        ("ldadd w0, w0, [x1]", "ldr w0, [x1]"),
        ("casal x0, x3, [sp, #8]", "ldr x3, [sp, #8]"),
        ("stadd w2, [x1]", "str w2, [x1]"),
        ("svc #0", "nop"),
        ("fmla v0.4s, v1.4s, v2.s[0]", "fmla v0.4s, v1.4s, v2.s[0]"),
    ],
)
def test_what_llvm_cannot_schedule_is_replaced(line: str, priced: str) -> None:
    assert schedulable(line) == priced


# What is made of it


def conv_graph(channels: int = 8) -> Graph:
    build, source = GraphBuilder(), Value("input", channels, 7, 7)
    build.conv("conv", source, channels, activation="relu")
    return Graph(source, build.ops[-1].output, tuple(build.ops))


def run_of(*nodes: tuple[str, float]) -> Run:
    priced = tuple(PricedNode(Node(name, "", 4, (1, 8, 7, 7)), cycles) for name, cycles in nodes)
    return Run("model", priced, sum(cycles for _, cycles in nodes))


def test_a_sample_is_free_of_what_profiling_costs() -> None:
    overhead = Overhead(per_node=100, per_tensor=10, per_run=7, per_output=5)
    (sample,) = samples(conv_graph(), run_of(("conv", 1000)), overhead, "fp32")
    assert sample.cycles == 1000 - 100 - 4 * 10 - 5
    assert sample.kernel.kind == "pointwise"


def test_a_kernel_that_was_not_foreseen_stops_calibration() -> None:
    with pytest.raises(MeasurementError, match="which no kernel covers"):
        list(samples(conv_graph(), run_of(("conv", 1), ("reorder", 1)), NO_OVERHEAD, "fp32"))
    with pytest.raises(MeasurementError, match="did not run"):
        list(samples(conv_graph(), run_of(), NO_OVERHEAD, "fp32"))


def test_overhead_is_what_was_put_in() -> None:
    truth = Overhead(per_node=900, per_tensor=30, per_run=200, per_output=50)
    profiled, whole = [], []
    for count in range(1, 6):
        nodes = [("conv", 5000.0 + 300 * count * index) for index in range(count)]
        bare = run_of(*nodes)
        extra = truth.per_node * count + truth.per_tensor * 4 * count
        whole.append(Run("m", (), bare.cycles + truth.per_run))
        profiled.append(Run("m", bare.nodes, bare.cycles + extra))
    # Tensors and nodes are the same here but for the factor, so only their sum can be found.
    found = Overhead.fit(profiled, whole, [(run_of(("conv", 150)), run_of(("conv", 100)))])
    assert found.per_node + 4 * found.per_tensor == pytest.approx(900 + 4 * 30)
    assert found.per_run == pytest.approx(200)
    assert found.per_output == 50
    assert found.of(profiled[2].nodes) == pytest.approx(3 * 1020)


def sample_of(kernel: Kernel, cycles: float, sizes: tuple[int, ...] = ()) -> Sample:
    return Sample(kernel, cycles, sizes)


def test_a_fit_finds_the_formula_and_leaves_an_outlier_out() -> None:
    found = []
    for channels in (8, 16, 24, 40, 64, 96, 128):
        (kernel,) = kernels_of(conv_graph(channels))
        found.append(sample_of(kernel, 500 + 3 * channels + 2 * channels * channels))
    (kernel,) = kernels_of(conv_graph(48))
    found.append(sample_of(kernel, 2 * (500 + 3 * 48 + 2 * 48 * 48)))
    entry = fit(found, "fp32")["pointwise @7"]
    assert entry["left_out"] == 1
    assert entry["error_max"] < 1e-3
    assert entry["fused"] == ["relu"]


def on_maps(price: Callable[[Kernel], float]) -> list[Sample]:
    """A pool on maps of 40 shapes, at 3 numbers of channels, at this price."""
    found = []
    for height, width in product((3, 4, 6, 9, 14, 15, 23, 40), (3, 5, 8, 11, 30)):
        for channels in (16, 100, 300):
            source = Value("input", channels, height, width)
            kernel = Kernel(("pool",), "max pool 3x3 s1", source, channels, channels)
            found.append(sample_of(kernel, price(kernel)))
    return found


def test_a_formula_of_the_map_is_found_from_its_kernels() -> None:
    def price(kernel: Kernel) -> float:
        rows, columns = kernel.written
        return 2000 + kernel.channels_out * rows * (30 + 4 * columns + 9 * (columns % 4))

    formula = fit_formulas({}, on_maps(price), "fp32")["max pool 3x3 s1"]
    assert formula["error_max"] < 0.01
    assert formula["maps"] == 40
    unseen = Kernel(("pool",), "max pool 3x3 s1", Value("input", 50, 17, 53), 50, 50)
    assert KernelCost.from_json(formula).of(unseen) == pytest.approx(price(unseen), rel=0.01)


def test_a_kind_that_no_formula_foresees_gets_none() -> None:
    chance = random.Random(0)
    assert not fit_formulas({}, on_maps(lambda _: 1e6 * chance.uniform(1, 4)), "fp32")


def test_formulas_agree_with_the_entries_that_they_stand_beside() -> None:
    entries = {key: one for key, one in TABLE.entries.items() if key.startswith("add @")}
    formula = KernelCost.from_json(fit_formulas(entries, [], "fp32")["add"])
    source = Value("input", 64, 28, 28)
    kernel = Kernel(("sum",), "add", source, 64, 64)
    assert formula.of(kernel) == pytest.approx(entries[kernel.key].of(kernel), rel=0.02)


def test_relu_may_cost_less_with_a_sum_than_alone() -> None:
    (kernel,) = kernels_of(conv_graph())
    after, found = {(): 0, ("relu",): 9, ("add", "relu"): 4}, []
    for into in (8, 24, 40, 96):
        for out in (8, 16, 64, 128):
            for fused, each in after.items():
                one = replace(kernel, channels_in=into, channels_out=out, fused=fused)
                found.append(sample_of(one, 500 + 3 * into + each * out + 2 * into * out))
    entry = fit(found, "fp32")["pointwise @7"]
    assert entry["error_max"] < 1e-3
    assert entry["cycles"]["lone*out"] == pytest.approx(9, rel=0.01)
    assert entry["cycles"]["add*out"] == pytest.approx(4, rel=0.01)


def test_no_sum_of_the_grid_writes_the_output_of_its_graph() -> None:
    """There it would copy what it adds, and in a network works in place."""
    summed = 0
    for points in batches("fp32", (64, 32)).values():
        for point in points:
            for kernel in kernels_of(point.graph):
                if "add" in kernel.fused and point.priced in ("", kernel.key):
                    summed += 1
                    assert kernel.ops[-1] != point.graph.ops[-1].name, point.name
    assert summed >= 5 * 6


def test_the_part_of_a_quantised_concat_that_was_copied_is_found() -> None:
    found = []
    cuts = [
        (8, 8),
        (29, 29),
        (64, 64),
        (96, 96),
        (8, 24),
        (58, 16),
        (8,) * 8,
        (16,) * 8,
        (8,) * 16,
    ]
    for copied, sizes in enumerate(cuts):
        out, part, count = sum(sizes), sizes[copied % 2], len(sizes)
        kernel = Kernel(("concat",), "concat", Value("v", sizes[0], 7, 7), out, out, parts=count)
        found.append(sample_of(kernel, 100.0 + 20 * out + 500 * (out - part), sizes))
    entry = fit(found, "int8")["concat @7"]
    assert entry["cycles"]["looked*out"] == pytest.approx(500, rel=0.02)
    assert entry["error_mean"] < 0.02


def test_what_has_run_is_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shop = arm_workshop.Workshop(tmp_path, NO_TOOLS)
    ran: list[list[str]] = []

    def run(self: object, models: list[Path], work: Path, *, profile: bool) -> Counts:
        names = [model.stem for model in models]
        ran.append(names)
        first = counted().runs[0]
        runs = [CountedRun(name, first.nodes, first.segments) for name in names]
        return Counts(counted().blocks, runs)

    monkeypatch.setattr(Emulator, "run", run)
    monkeypatch.setattr(Emulator, "pricer", lambda self, core, runtime: Prices())
    monkeypatch.setattr(calibration, "AT_ONCE", 2)
    points = [Point(name, conv_graph(8)) for name in "abcd"]
    for wanted in (points[:1], points, points[1:]):
        runs = calibration.emulate(
            shop, CORES["cortex-a57"], "fp32", "batch", wanted, profile=True
        )
        assert [run.model for run in runs] == [point.name for point in wanted]
        assert {run.cycles for run in runs} == {56}
    assert ran == [["a"], ["b", "c"], ["d"]]


def test_two_processes_do_not_calibrate_in_one_folder(tmp_path: Path) -> None:
    shop = arm_workshop.Workshop(tmp_path, NO_TOOLS)
    with shop.alone(), pytest.raises(DeviceError, match="calibrates there"), shop.alone():
        pass
    with shop.alone():
        pass


# All of it


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
def test_a_few_kernels_end_to_end(
    core: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        arm_workshop.find_tools()
    except DeviceError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.getbasetemp() / "emulated_arm"
    few = {"few": tuple(p for b in batches("fp32", (32,)).values() for p in b)[::40]}
    monkeypatch.setattr(calibration, "batches", lambda *_: few)
    other = {"maps": map_batches("fp32")["maps"][:18]}
    monkeypatch.setattr(calibration, "map_batches", lambda _: other)
    monkeypatch.setattr(calibration, "overhead_points", lambda *_: few["few"])
    monkeypatch.setattr(calibration, "output_pairs", lambda _: list(output_pairs("fp32"))[:2])
    told: list[float] = []
    out = calibrate(
        core,
        folder,
        tmp_path_factory.mktemp("out") / "table.json",
        lambda _, share: told.append(share),
        precisions=("fp32",),
        resolutions=(32,),
    )
    assert told == sorted(told)
    assert told[-1] == 1
    table = KernelTable.load(out)
    assert table.entries
    assert table.formulas
    document = json.loads(out.read_text())
    assert document["core"] == core
    assert table.metadata["overhead"]["per_node"] > 0
    assert EmulatedArm.open(core, file=out).description.startswith("arm: Cortex-A")


TABLE = KernelTable.load("cortex-a53")
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
    with pytest.raises(ConfigError, match="at least 2"):
        refit_scale(TABLE, measured()[:1])
    with pytest.raises(ConfigError, match="above 0"):
        refit_scale(TABLE, [(graph, 0.0) for graph, _ in measured()])


def test_a_refitted_table_can_be_used_and_says_so(tmp_path: Path) -> None:
    note = save_refit("cortex-a53", "fp32", measured((1, 1.1, 1, 1)), tmp_path / "mine.json")
    target = EmulatedArm.open("cortex-a53", name="board", file=tmp_path / "mine.json")
    latency = replace(target, lowering="plain").estimate(reference(NAMES[0]))
    assert latency.ms == pytest.approx(measured()[0][1], rel=1e-5)
    assert "fitted to 4 networks measured on the device" in latency.note
    assert note in latency.note
    assert latency.provenance == "emulated"
