"""`verify`: what was changed is found, and nothing of a stranger's is run."""

import dataclasses
import itertools
import json
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from packages import TINY, images_file, winner_of, write_winner
from safetensors.numpy import load, save

from nas_sv2.errors import ConfigError, NasError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.space.networks.lowering import load_network, lower, network_to_yaml
from nas_sv2.space.runtimes.onnx_form import shuffle_free_onnx
from nas_sv2.space.runtimes.onnx_lowering import metadata_of, opset_of, with_metadata
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.package import load as package_load
from nas_sv2.studies.package.card import CARD, CARD_JSON, PAGE_KEY, trial_card
from nas_sv2.studies.package.folder import SUMS, read_folder, write_folder
from nas_sv2.studies.package.form_checks import check_self_contained
from nas_sv2.studies.package.forms import (
    ARCHITECTURE,
    MODEL,
    MODEL_INT8,
    MODEL_NCNN,
    MODEL_NCNN_INT8,
    MODEL_TFLITE,
    MODEL_TFLITE_INT8,
    SOURCE,
    TIMING,
    TIMING_INT8,
    TIMING_NCNN,
    TIMING_NCNN_INT8,
    TIMING_TFLITE,
    TIMING_TFLITE_INT8,
    TRAINED,
    WEIGHTS,
    ncnn_weights_of,
)
from nas_sv2.studies.package.load import load_package
from nas_sv2.studies.package.verify import Check, timing_checks, verify


@pytest.mark.parametrize(
    "name", ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_residual_x1_0"]
)
def test_a_model_of_full_size_is_its_architecture(name: str) -> None:
    """Folded, a file has fewer numbers than the network has parameters."""
    network = dataclasses.replace(reference(name), classes=10)
    graph = lower(network)
    model = shuffle_free_onnx(graph, random_weights(graph, seed=0))
    ((checked, made),) = timing_checks(network, network, {TIMING: model})
    assert checked == TIMING and made.holds, made
    wider = dataclasses.replace(network, head=64 * network.head)
    ((_, refused),) = timing_checks(wider, wider, {TIMING: model})
    assert not refused.holds and "too small" in refused.found


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images_file(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, spec: str) -> Path:
    out = tmp_path_factory.mktemp("export") / "winner"
    write_winner(out, open_data(spec))
    return out


@pytest.fixture
def changed(package: Path, tmp_path: Path) -> Callable[[str, bytes], Path]:
    """The package with another file under this name, and right checksums."""

    def make(name: str, content: bytes) -> Path:
        write_folder(tmp_path / "changed", {**load_package(package).files, name: content})
        return tmp_path / "changed"

    return make


@pytest.fixture(scope="module")
def for_litert(tmp_path_factory: pytest.TempPathFactory, spec: str) -> Path:
    out = tmp_path_factory.mktemp("export") / "winner"
    write_winner(out, open_data(spec), formats=["tflite"])
    return out


def test_files_for_litert_are_checked_and_run(for_litert: Path, spec: str) -> None:
    checks = list(verify(for_litert, spec))
    assert failed(checks) == []
    named = [check.what for check in checks if ".tflite" in check.what]
    models = [MODEL_TFLITE, MODEL_TFLITE_INT8]
    accuracies = [f"{name} accuracy" for name in models]
    assert named == [*models, TIMING_TFLITE, TIMING_TFLITE_INT8, *models, *accuracies]
    assert "is the file that nas-sv2" in checks[4].found
    assert failed(list(verify(for_litert))) == []
    page = (for_litert / "card.md").read_text(encoding="utf-8")
    assert " LiteRT's int8 (static, weights a channel, ranges from " in page


@pytest.mark.parametrize(
    "name", [MODEL_TFLITE, MODEL_TFLITE_INT8, TIMING_TFLITE, TIMING_TFLITE_INT8]
)
def test_a_file_for_litert_that_is_not_ours_is_not_run(
    for_litert: Path, tmp_path: Path, name: str
) -> None:
    files = load_package(for_litert).files
    other = files[name][:-1] + bytes([files[name][-1] ^ 1])
    write_folder(tmp_path / "w", {**files, name: other})
    checks = list(verify(tmp_path / "w"))
    assert failed(checks) == [name]
    assert sum(check.what == name for check in checks) == 1
    write_folder(tmp_path / "w", {**files, TIMING_TFLITE: b""})
    (check,) = [each for each in verify(tmp_path / "w") if not each.holds]
    assert "too small for" in check.found


@pytest.mark.parametrize(("scale", "found"), [([0.5, 0], ""), ([0.0, 0], "must be a scale above")])
def test_scales_for_litert_that_are_not_those_of_the_file(
    for_litert: Path, tmp_path: Path, scale: list[float], found: str
) -> None:
    files = load_package(for_litert).files
    card = json.loads(files[CARD_JSON])
    card["tflite_scales"][TIMING_TFLITE_INT8][3] = scale
    write_folder(tmp_path / "w", {**files, CARD_JSON: json.dumps(card).encode()})
    if found:
        with pytest.raises(ConfigError, match=found):
            list(verify(tmp_path / "w"))
    else:
        assert failed(list(verify(tmp_path / "w"))) == [TIMING_TFLITE_INT8]


@pytest.fixture(scope="module")
def for_ncnn(tmp_path_factory: pytest.TempPathFactory, spec: str) -> Path:
    out = tmp_path_factory.mktemp("export") / "winner"
    write_winner(out, open_data(spec), formats=["ncnn"])
    return out


def test_files_for_ncnn_are_checked_and_run(for_ncnn: Path, spec: str) -> None:
    checks = list(verify(for_ncnn, spec))
    assert failed(checks) == []
    named = [check.what for check in checks if ".ncnn" in check.what]
    models = [MODEL_NCNN, MODEL_NCNN_INT8]
    accuracies = [f"{name} accuracy" for name in models]
    assert named == [*models, TIMING_NCNN, TIMING_NCNN_INT8, *models, *accuracies]
    page = (for_ncnn / "card.md").read_text(encoding="utf-8")
    assert " ncnn's int8 (static, weights a channel, ranges from " in page


@pytest.mark.parametrize("name", [MODEL_NCNN, MODEL_NCNN_INT8, TIMING_NCNN, TIMING_NCNN_INT8])
@pytest.mark.parametrize("weights", [False, True])
def test_a_file_for_ncnn_that_is_not_ours_is_not_run(
    for_ncnn: Path, tmp_path: Path, name: str, weights: bool
) -> None:
    files = load_package(for_ncnn).files
    file = ncnn_weights_of(name) if weights else name
    other = bytes([files[file][0] ^ 1]) + files[file][1:]
    write_folder(tmp_path / "w", {**files, file: other})
    checks = list(verify(tmp_path / "w"))
    assert failed(checks) == [name]
    assert sum(check.what == name for check in checks) == 1


@pytest.mark.parametrize(("scale", "holds"), [(50.0, True), (0.0, False), (math.nan, False)])
def test_a_scale_of_int8_follows_from_images_that_are_not_shipped(
    for_ncnn: Path, tmp_path: Path, scale: float, holds: bool
) -> None:
    """It may be any number that is one; the last scale of a network is that of the classifier."""
    files = load_package(for_ncnn).files
    name = ncnn_weights_of(TIMING_NCNN_INT8)
    changed = files[name][:-4] + struct.pack("<f", scale)
    write_folder(tmp_path / "w", {**files, name: changed})
    checks = list(verify(tmp_path / "w"))
    assert failed(checks) == ([] if holds else [TIMING_NCNN_INT8])


def failed(checks: list[Check]) -> list[str]:
    return [check.what for check in checks if not check.holds]


def test_a_package_passes_on_noise_and_on_its_own_images(package: Path, spec: str) -> None:
    checks = list(verify(package))
    assert failed(checks) == []
    parts = [CARD_JSON, CARD, MODEL, MODEL_INT8, TIMING, TIMING_INT8]
    assert [check.what for check in checks] == [SUMS, *parts, SOURCE, SOURCE, MODEL, MODEL_INT8]
    checks = list(verify(package, spec))
    assert failed(checks) == []
    card = json.loads((package / CARD_JSON).read_text())
    for check in checks[-4:]:
        form = check.what.removesuffix(" accuracy")
        assert check.found.startswith(f"{card['forms'][form]['accuracy']:.2%} of 60 validation")


def test_a_network_whose_images_are_no_squares_passes_in_every_form(tmp_path: Path) -> None:
    spec = images_file(tmp_path, side=32, width=48)
    data, found = open_data(spec), dataclasses.replace(TINY, resolution=(64, 40))
    winner = winner_of(data, found)
    assert winner.trained.resolution == (32, 48)
    write_winner(tmp_path / "winner", data, winner, formats=["onnx", "tflite", "ncnn"])
    assert failed(list(verify(tmp_path / "winner"))) == []
    checks = list(verify(tmp_path / "winner", spec))
    assert failed(checks) == [] and checks[-1].what.endswith("accuracy")
    card = json.loads((tmp_path / "winner" / CARD_JSON).read_text())
    assert card["input"]["side"] == card["input"]["centre_of"] == [32, 48]
    page = (tmp_path / "winner" / CARD).read_text()
    assert "| input | 3 × 64 × 40 |" in page and "| trained with input | 3 × 32 × 48 |" in page
    assert "(N, 3, 32, 48)" in (tmp_path / "winner" / SOURCE).read_text()


def test_the_command_prints_a_line_a_check_and_fails_with_the_line(
    package: Path, tmp_path: Path, command_line: Run
) -> None:
    code, out, err = command_line("network", "verify", str(package))
    assert (code, err) == (0, "")
    assert [line[:6] for line in out.splitlines()] == ["ok    "] * 11
    write_folder(tmp_path / "w", load_package(package).files)
    body = bytearray((tmp_path / "w" / MODEL).read_bytes())
    body[len(body) // 2] ^= 1
    (tmp_path / "w" / MODEL).write_bytes(body)
    code, out, _ = command_line("network", "verify", "w")
    assert code == 1
    (line,) = out.splitlines()
    assert line.startswith("FAIL") and MODEL in line
    code, out, _ = command_line("network", "verify", "w", "--json")
    assert code == 1 and json.loads(out)["checks"][0]["holds"] is False
    code, _, err = command_line("network", "verify", "nowhere")
    assert code == 2 and err.count("\n") == 1 and SUMS in err


def test_other_weights_with_right_checksums_are_found_by_every_form(
    package: Path, changed: Callable[[str, bytes], Path]
) -> None:
    weights = load((package / WEIGHTS).read_bytes())
    weights["head.classifier.bias"] += np.array([50, 0, 0], np.float32)
    assert failed(list(verify(changed(WEIGHTS, save(weights))))) == [MODEL, MODEL_INT8]


def test_a_model_py_of_a_stranger_is_not_run(
    changed: Callable[[str, bytes], Path], package: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    text = (package / SOURCE).read_bytes() + f"\nPath({str(mark)!r}).touch()\n".encode()
    folder = changed(SOURCE, text)
    checks = list(verify(folder))
    assert failed(checks) == [SOURCE] and not mark.exists()
    assert failed(list(verify(folder, run_source=True))) == [] and mark.exists()


def test_a_file_of_the_package_that_the_sums_leave_out_is_found(
    package: Path, tmp_path: Path
) -> None:
    files = dict(load_package(package).files)
    text = files.pop(SOURCE)
    write_folder(tmp_path / "w", files)
    assert failed(list(verify(tmp_path / "w"))) == [CARD]  # which lists it
    (tmp_path / "w" / "notes.txt").touch()  # the user's
    assert failed(list(verify(tmp_path / "w"))) == [CARD]
    (tmp_path / "w" / SOURCE).write_bytes(text)
    checks = list(verify(tmp_path / "w"))
    assert failed(checks) == [SUMS, CARD] and SOURCE in checks[1].found


def test_a_model_py_that_fails_when_it_is_run_is_a_failed_check(
    changed: Callable[[str, bytes], Path],
) -> None:
    checks = list(verify(changed(SOURCE, b"raise SystemError('no')"), run_source=True))
    assert failed(checks) == ["forms"] and "cannot be run" in checks[-1].found


def test_an_accuracy_that_is_not_that_of_the_export_is_found(
    changed: Callable[[str, bytes], Path], package: Path, spec: str, tmp_path: Path
) -> None:
    card = json.loads((package / CARD_JSON).read_text())
    card["forms"][MODEL_INT8]["accuracy"] += 0.05
    card["forms"][MODEL]["accuracy"] -= 0.05
    folder = changed(CARD_JSON, json.dumps(card).encode())
    accuracies = [f"{MODEL} accuracy", f"{MODEL_INT8} accuracy"]
    assert failed(list(verify(folder, spec))) == [CARD, *accuracies]
    other = images_file(tmp_path, seed=1)
    checks = list(verify(folder, other))
    assert failed(checks) == [CARD] and "not those of the export" in checks[-1].found
    grey = images_file(tmp_path, channels=1, seed=2)
    with pytest.raises(ConfigError, match="images of 3 channels and 3 classes"):
        list(verify(folder, grey))


def test_int8_that_is_worse_than_it_was_is_found(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    card = json.loads((package / CARD_JSON).read_text())
    card["forms_on_noise"][MODEL_INT8]["error"] = -1.0
    assert failed(list(verify(changed(CARD_JSON, json.dumps(card).encode())))) == [MODEL_INT8]


def test_a_card_that_lacks_what_is_needed_is_bad_input(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    for broken in ({"mean": ["x"]}, {"mean": [1.0]}, {"deviation": [float("inf")] * 3}):
        card = json.loads((package / CARD_JSON).read_text())
        card["input"].update(broken)
        with pytest.raises(ConfigError, match=r"card\.json"):
            list(verify(changed(CARD_JSON, json.dumps(card).encode())))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([ARCHITECTURE, TRAINED, CARD_JSON, WEIGHTS]),
    st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)),
    st.integers(0, 400),
    st.booleans(),
)
def test_whatever_a_file_holds_only_our_errors_come_out(
    package: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    content: bytes,
    place: int,
    spliced: bool,
) -> None:
    files = dict(load_package(package).files)
    own = files[name]
    files[name] = own[:place] + content + own[place + len(content) :] if spliced else content
    folder = tmp_path_factory.mktemp("fuzz") / "w"
    write_folder(folder, files)
    with suppress(NasError):
        load_package(folder).module()


def test_a_card_that_says_other_than_its_figures_is_found(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    page = (package / CARD).read_bytes()
    checks = list(verify(changed(CARD, page.replace(b"50.00%", b"95.00%"))))
    assert failed(checks) == [CARD]
    assert "line" in next(check.found for check in checks if check.what == CARD)
    card = json.loads((package / CARD_JSON).read_text())
    card["study"]["record"]["evaluation"]["accuracy"] = 0.95
    assert failed(list(verify(changed(CARD_JSON, json.dumps(card).encode())))) == [CARD]


def test_figures_of_another_network_are_found(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    card = json.loads((package / CARD_JSON).read_text())
    others = dict.fromkeys(("digest", "trained_digest", "flops", "params"), card["params"] + 1)
    for name, value in {**others, "shuffles": [3, 3]}.items():
        other = {**card, name: value}
        assert CARD_JSON in failed(list(verify(changed(CARD_JSON, json.dumps(other).encode()))))


def test_a_card_says_that_an_accuracy_is_of_a_proxy(package: Path) -> None:
    text = (package / CARD).read_text()
    assert "| in the study | timed: 64×64×3, stem of stride 2 and a pool; trained: 32×32×3" in text
    assert "**Accuracies are of a proxy (32×32×3, stem of stride 2 and a pool), not of" in text


def test_a_note_on_a_latency_names_its_target(package: Path) -> None:
    document = json.loads((package / CARD_JSON).read_text())
    note = "scaled to 5 published figures of ncnn on this device"
    for target in ("pi", "phone"):
        latency = Latency.of(2.0, "emulated", f"{target}: a core", note).to_json()
        document["study"]["record"]["latencies"][target] = latency
    lines = trial_card(document, []).splitlines()
    assert [line for line in lines if note in line] == [f"- pi: {note}", f"- phone: {note}"]


def test_a_card_of_a_version_that_wrote_other_pages_is_not_made_anew(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    card = json.loads((package / CARD_JSON).read_text())
    del card[PAGE_KEY], card["study"]["record"]
    checks = list(verify(changed(CARD_JSON, json.dumps(card).encode())))
    assert failed(checks) == []
    assert "only its checksum was checked" in next(c.found for c in checks if c.what == CARD)


def test_a_card_whose_record_is_none_is_bad_input(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    card = json.loads((package / CARD_JSON).read_text())
    odd: list[object] = [{}, None, [], {**card["study"]["record"], "latencies": 3}]
    for record in odd:
        other = {**card, "study": {**card["study"], "record": record}}
        with pytest.raises(ConfigError, match=r"card\.json"):
            list(verify(changed(CARD_JSON, json.dumps(other).encode())))


def with_change(model: bytes, change: Callable[[onnx.GraphProto], object]) -> bytes:
    read = onnx.load_model_from_string(model)
    change(read.graph)
    body: bytes = read.SerializeToString()
    return body


def slower(graph: onnx.GraphProto) -> None:
    """One more operator, which changes nothing but the time."""
    last = graph.node[-1]
    last.output[0] = "before"
    graph.node.append(helper.make_node("Identity", ["before"], ["logits"], "again"))


def rewired(graph: onnx.GraphProto) -> None:
    concat = next(node for node in graph.node if node.op_type == "Concat")
    first, second = concat.input[:2]
    concat.input[0], concat.input[1] = second, first


def strided(graph: onnx.GraphProto) -> None:
    for attribute in next(node for node in graph.node if node.op_type == "Conv").attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [4, 4]


@pytest.mark.parametrize("name", [MODEL, MODEL_INT8])
@pytest.mark.parametrize("key", ["class_names", "mean", "deviation", "side", "fit", "nas_sv2"])
def test_facts_in_a_model_that_are_not_those_of_the_card_are_found(
    name: str, key: str, changed: Callable[[str, bytes], Path], package: Path
) -> None:
    model = (package / name).read_bytes()
    facts = metadata_of(model)
    other = with_metadata(model, {**facts, key: "[7]"})
    found = {check.what: check.found for check in parts_of(changed(name, other))}
    assert list(found) == [name] and key in found[name]
    del facts[key]
    assert [check.what for check in parts_of(changed(name, with_metadata(model, facts)))] == [name]


def parts_of(folder: Path) -> list[Check]:
    """The failed checks of files against each other; no form is run."""
    parts = itertools.takewhile(lambda check: check.what != SOURCE, verify(folder))
    return [check for check in parts if not check.holds]


def test_a_package_in_another_opset_is_verified(spec: str, tmp_path: Path) -> None:
    data = open_data(spec)
    write_winner(tmp_path / "w", data, opset=17)
    for name in (MODEL, MODEL_INT8, TIMING, TIMING_INT8):
        assert opset_of((tmp_path / "w" / name).read_bytes()) == 17
    assert failed(list(verify(tmp_path / "w"))) == []


@pytest.mark.parametrize("opset", [12, 18, None])
def test_a_model_for_timing_in_an_opset_that_we_do_not_write_is_found(
    opset: int | None, changed: Callable[[str, bytes], Path], package: Path
) -> None:
    model = onnx.load(package / TIMING)
    del model.opset_import[:]
    if opset is not None:
        model.opset_import.add(version=opset)
    (check,) = parts_of(changed(TIMING, model.SerializeToString()))
    assert check.what == TIMING and f"opset {opset or 0}" in check.found


@pytest.mark.parametrize("name", [TIMING, TIMING_INT8])
@pytest.mark.parametrize("change", [slower, rewired, strided])
def test_a_model_for_timing_of_another_network_is_found(
    name: str,
    change: Callable[[onnx.GraphProto], object],
    changed: Callable[[str, bytes], Path],
    package: Path,
) -> None:
    model = with_change((package / name).read_bytes(), change)
    assert failed(list(verify(changed(name, model)))) == [name]


def test_the_numbers_of_a_model_for_timing_are_free(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    def double(graph: onnx.GraphProto) -> None:
        tensor = next(t for t in graph.initializer if t.data_type == TensorProto.FLOAT)
        array = onnx.numpy_helper.to_array(tensor) * 2
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))

    model = with_change((package / TIMING).read_bytes(), double)
    assert failed(list(verify(changed(TIMING, model)))) == []


def test_an_architecture_beyond_its_files_is_found_and_not_built(
    changed: Callable[[str, bytes], Path], package: Path
) -> None:
    found = load_package(package).architecture
    assert isinstance(found, Architecture)
    deep = dataclasses.replace(found.stages[-1], depth=1000)
    for other in (
        dataclasses.replace(found, head=65_536),
        dataclasses.replace(found, stages=(*found.stages[:-1], deep)),
        dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64),
    ):
        text = architecture_to_yaml(other).encode()
        checks = failed(list(verify(changed(ARCHITECTURE, text))))
        assert {CARD_JSON, TIMING, TIMING_INT8} <= set(checks)


@pytest.mark.parametrize("name", [ARCHITECTURE, TRAINED])
def test_an_absurd_resolution_is_refused(
    name: str, changed: Callable[[str, bytes], Path], package: Path
) -> None:
    """Weights fit any resolution; 16 images of it would not fit in memory."""
    known = load_network(package / name)
    text = network_to_yaml(dataclasses.replace(known, resolution=2**14)).encode()
    with pytest.raises(ConfigError, match=r"resolution in .* at most 1024 pixels.*; got 16384"):
        list(verify(changed(name, text)))
    card = json.loads((package / CARD_JSON).read_text())
    card["input"]["centre_of"] = 2**20
    folder = changed(CARD_JSON, json.dumps(card).encode())
    with pytest.raises(ConfigError, match=r"centre_of in .*; got 1048576"):
        list(verify(folder, "animals"))


def test_a_network_is_read_from_what_the_checksums_were_of(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from the file once more, which may be another by then."""
    monkeypatch.setattr(
        package_load,
        "read_folder",
        lambda folder: {**read_folder(package), ARCHITECTURE: (package / TRAINED).read_bytes()},
    )
    package_of = load_package(package)
    assert package_of.architecture == package_of.trained


def elsewhere(name: str = "w") -> TensorProto:
    """A tensor whose numbers lie in a file outside the folder."""
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def model_with(place: str) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    inner = helper.make_graph([], "inner", [], [value], [elsewhere()])
    nodes = {
        "weight": helper.make_node("Identity", ["w"], ["y"]),
        "attribute": helper.make_node("Constant", [], ["y"], value=elsewhere()),
        "inner": helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner),
    }
    held = [elsewhere()] if place == "weight" else []
    graph = helper.make_graph([nodes[place]], "g", [value], [value], held)
    body: bytes = helper.make_model(graph).SerializeToString()
    return body


@pytest.mark.parametrize("place", ["weight", "attribute", "inner"])
def test_a_model_that_reads_other_files_is_refused(
    place: str, changed: Callable[[str, bytes], Path]
) -> None:
    with pytest.raises(ConfigError, match="etc/passwd"):
        check_self_contained("m", model_with(place))
    with pytest.raises(ConfigError, match="none in another file"):
        list(verify(changed(MODEL, model_with(place))))


def test_what_is_no_model_is_refused(package: Path) -> None:
    with pytest.raises(ConfigError, match="an ONNX model"):
        check_self_contained("m", b"no model")
    check_self_contained("m", (package / MODEL).read_bytes())
    assert onnx.load(package / MODEL_INT8).graph.node
