"""`measure`, `network cost` and `network profile` of an ONNX file, and where they refuse it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_files import LIGHT, save_model

import nas_sv2 as nas
from nas_sv2.latency.devices.local import local_device
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.onnx_models.model import load_model
from nas_sv2.space.units.reference import reference

Run = Callable[..., tuple[int, str, str]]
QUICK = {
    "min_runs": 10, "max_runs": 20, "warmup_runs": 3, "loads": 1, "reference": None,
    "time_limit_s": 0.1, "noisy_time_limit_s": 0.1,
}  # fmt: skip
V2 = "shufflenet_v2_x0_5"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """V2 0.5× as we write it."""
    return nas.onnx(V2, tmp_path / "own.onnx")


def test_a_file_is_priced_as_the_network_that_it_is(command_line: Run, own: Path) -> None:
    code, out, _ = command_line("measure", str(own), V2, "--target", "arm", "--json")
    file, network = json.loads(out)
    assert code == 0
    assert file["digest"] == load_model(own).digest
    # the file has its shuffles, which our networks do without
    assert network["ms"] < file["ms"] < 1.05 * network["ms"]
    assert file["provenance"] == "emulated"
    code, out, _ = command_line("network", "profile", str(own), "--target", "arm", "--json")
    (profile,) = json.loads(out)
    assert profile["sum_ms"] == pytest.approx(file["ms"])
    assert list(profile["block_ms"]) == ["network"]
    assert profile["kind_ms"]["depthwise"] > 0


def test_a_file_is_measured_beside_our_own(own: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'm.db'}"
    found = nas.measure([str(own), V2], target="cpu", storage=storage, plan=QUICK)
    assert found.names == [str(own), V2]
    assert {latency.provenance for latency in found.latencies} == {"measured"}
    model = nas.load(own, inputs={})
    one = nas.measure([model], target="cpu", storage=storage, plan=QUICK)
    assert one.networks[0].network.digest == model.digest
    own.write_bytes(nas.onnx(V2, tmp_path / "other.onnx", seed=1).read_bytes())
    assert load_model(own).digest != model.digest  # so that nothing stored is taken for it


def test_our_networks_take_another_input_which_their_name_tells(
    command_line: Run, own: Path
) -> None:
    code, out, _ = command_line("network", "cost", V2, "--input", "1x1x64x96", "--json")
    wanted = cost_of(lower(replace(reference(V2), channels=1, resolution=(64, 96))))
    found = json.loads(out)
    assert (code, found["name"]) == (0, f"{V2} at 1x64x96")
    assert (found["flops"], found["params"]) == (wanted.flops, wanted.params)
    both = ("measure", str(own), V2, "--target", "arm", "--input", "1x3x224x224", "--json")
    code, out, _ = command_line(*both)
    assert [row["name"] for row in json.loads(out)] == [str(own), f"{V2} at 3x224x224"]


def test_several_inputs_of_several_kinds_run(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1]),
        helper.make_node("Add", ["mean", "bias"], ["y"]),
    ]
    held = {"table": np.ones((50, 4), "f")}
    inputs: dict[str, list[int | str]] = {"ids": ["N", "S"], "bias": [4]}
    path = save_model(tmp_path / "m.onnx", nodes, inputs, held)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = 7
    path.write_bytes(model.SerializeToString())
    found = load_model(path, {"ids": (1, 6)})
    with local_device("here") as device:
        plan = MeasurePlan(**QUICK)  # type: ignore[arg-type]
        assert len(device.outputs(payload_of(found, plan), plan)) == 4


def test_cost_of_a_file(command_line: Run, own: Path) -> None:
    code, out, _ = command_line("network", "cost", str(own), "--json")
    file = json.loads(out)
    ours = json.loads(command_line("network", "cost", V2, "--json")[1])
    assert code == 0
    same = ("flops", "memory_access_bytes", "kernel_count", "peak_memory_bytes")
    assert {name: file[name] for name in same} == {name: ours[name] for name in same}
    assert file["guidelines"] == {}
    assert file["peak_memory_bytes"] == file["weight_bytes"] + file["activation_bytes"]
    out = command_line("network", "cost", str(own))[1]
    assert "1 × 3 × 224 × 224, float32" in out
    assert "peak memory" in out
    assert nas.cost(str(own)).flops == ours["flops"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("network", "cost", "none.onnx"), "network must be a readable ONNX file"),
        (("network", "cost", "text.onnx"), "network must be an ONNX model with nodes"),
        (("network", "cost", "folder.onnx"), "network must be a readable ONNX file"),
        (
            ("network", "cost", "wide.onnx"),
            "input x leaves axis 0 open; give all sizes as --input",
        ),
        (("network", "cost", "o.onnx", "--input", "1x3"), "must have 4 axes, as Nx3x8x8"),
        (("network", "cost", "o.onnx", "--input", "0x3x8x8"), "--input must be sizes above 0"),
        (("network", "cost", "o.onnx", "--input", "-1x3x8x8"), "--input must be sizes above 0"),
        (("network", "cost", "o.onnx", "--input", "²x3x8x8"), "--input must be sizes above 0"),
        (
            ("network", "cost", "o.onnx", "--input", "z=1x3x8x8"),
            "--input must name an input of",
        ),
        (
            ("network", "cost", V2, "--input", "x=1x3x8x8"),
            "names an input of an ONNX file",
        ),
        (
            ("network", "cost", V2, "--input", "3x96x128"),
            "must be 1xCHANNELSxHEIGHTxWIDTH",
        ),
        (
            ("network", "cost", V2, "--input", "2x3x96x96"),
            "must be 1xCHANNELSxHEIGHTxWIDTH",
        ),
        (
            ("network", "cost", V2, "--input", "1x3x8x128"),
            "--input must fit shufflenet_v2_x0_5, whose resolution must be at least the total",
        ),
        (("measure", "wide.onnx", "-t", "arm"), "leaves axis 0 open"),
        (("measure", str(LIGHT / "light_resnet50.onnx"), "-t", "arm"), "got 'Sum'"),
        (
            ("measure", "o.onnx", "--input", "8x3x8x8", "-t", "cpu"),
            "--batch must be 8, the first size",
        ),
        (
            ("measure", "o.onnx", "--input", "1x3x8x8", "-t", "cpu", "--precision", "int8"),
            "--precision must be left out",
        ),
        (
            ("network", "profile", "o.onnx", "-t", "arm", "--by", "block"),
            "--by must be kind or op: o.onnx does not name its blocks",
        ),
        (
            ("network", "explain", "o.onnx", "-t", "arm"),
            "ONNX files are for measure, network cost and network profile",
        ),
        (
            ("network", "reuse", "o.onnx"),
            "ONNX files are for measure, network cost and network profile",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    command_line: Run,
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("nodes: 3\n")
    (tmp_path / "folder.onnx").mkdir()
    relu = helper.make_node("Relu", ["x"], ["y"])
    save_model(tmp_path / "o.onnx", [relu], {"x": ["N", 3, 8, 8]})
    save_model(tmp_path / "wide.onnx", [relu], {"x": ["N", 3, 8, "W"]})
    code, _, err = command_line(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_a_batch_that_is_taken_is_said(
    command_line: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relu = helper.make_node("Relu", ["x"], ["y"])
    save_model(tmp_path / "o.onnx", [relu], {"x": ["N", 3, 8, 8]})
    code, out, err = command_line("network", "cost", "o.onnx", "--json")
    assert code == 0 and json.loads(out)["activation_bytes"] == 4 * 3 * 8 * 8
    assert err == "o.onnx leaves its batch open: taken as 1; --input names another\n"
    asked = command_line("network", "cost", "o.onnx", "--json", "--input", "1x3x8x8")
    assert asked == (0, out, "")
