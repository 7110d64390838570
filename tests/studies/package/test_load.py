"""The forms of a network: that they are one, and how they are read back."""

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from packages import TINY, data_in, winner_of, write_winner
from run_graphs import run_onnx, run_torch, weights_with_statistics
from safetensors.numpy import load, save

import nas_sv2
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.determinism import cpu_threads
from nas_sv2.evaluate.fitting.int8_form import validate_int8
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph, Shuffle
from nas_sv2.space.networks.lowering import load_network, lower
from nas_sv2.space.runtimes import onnx_form as onnx_forms
from nas_sv2.space.runtimes.onnx_form import onnx_form, shuffle_free_onnx
from nas_sv2.space.runtimes.onnx_lowering import metadata_of
from nas_sv2.space.runtimes.quantization import quantize
from nas_sv2.space.runtimes.torch_lowering import GraphModule
from nas_sv2.space.runtimes.weights import Array, Weights
from nas_sv2.studies.package import forms
from nas_sv2.studies.package import verify as verifying
from nas_sv2.studies.package.card import CARD, CARD_JSON, classes_section, input_of, page
from nas_sv2.studies.package.folder import SUMS, write_folder
from nas_sv2.studies.package.form_checks import EQUAL, Form
from nas_sv2.studies.package.forms import (
    ARCHITECTURE,
    MODEL,
    MODEL_INT8,
    SOURCE,
    TIMING,
    TIMING_INT8,
    TORCH,
    TRAINED,
    WEIGHTS,
    TrainedNetwork,
    forms_of,
    torch_form,
)
from nas_sv2.studies.package.load import load_package
from nas_sv2.studies.package.verify import verify

FILES = {
    ARCHITECTURE, TRAINED, MODEL, MODEL_INT8, SOURCE, TIMING, TIMING_INT8, WEIGHTS, CARD_JSON,
    "card.md", SUMS,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return data_in(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def winner(data: ImageData) -> TrainedNetwork:
    return winner_of(data)


@pytest.fixture(scope="module")
def package(
    tmp_path_factory: pytest.TempPathFactory, data: ImageData, winner: TrainedNetwork
) -> Path:
    out = tmp_path_factory.mktemp("export") / "winner"
    write_winner(out, data, winner)
    return out


@pytest.fixture
def images(winner: TrainedNetwork) -> np.ndarray:
    shape = (5, 3, 32, 32)
    return np.random.default_rng(3).standard_normal(shape, np.float32)


def test_a_package_loads_again_as_what_it_was(package: Path, winner: TrainedNetwork) -> None:
    assert {path.name for path in package.iterdir()} == FILES
    found = load_package(package)
    assert (found.architecture, found.trained) == (TINY, winner.trained)
    assert load_network(package / ARCHITECTURE) == TINY
    assert all(np.array_equal(found.weights[name], winner.weights[name]) for name in found.weights)


def test_every_form_gives_the_logits_of_the_network(
    package: Path, winner: TrainedNetwork, images: np.ndarray
) -> None:
    expected = run_torch(lower(winner.trained), winner.weights, images)
    generator = torch.get_rng_state()
    module = nas_sv2.load(package)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not module.training
    assert not [name for name, one in module.state_dict().items() if one.is_meta]
    with torch.no_grad():
        logits = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=EQUAL * abs(expected).max())
    for name in (MODEL, MODEL_INT8):
        onnx.checker.check_model(onnx.load(package / name), full_check=True)
    float32 = run_onnx((package / MODEL).read_bytes(), images)
    np.testing.assert_allclose(float32, expected, rtol=0, atol=EQUAL * abs(expected).max())
    int8 = run_onnx((package / MODEL_INT8).read_bytes(), images)
    assert 0 < abs(int8 - expected).max() < 0.5 * abs(expected).max()


def test_int8_is_int8_throughout(package: Path) -> None:
    for name in (MODEL_INT8, TIMING_INT8):
        graph = onnx.load(package / name).graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        scaled = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        convolutions = sum(node.op_type == "Conv" for node in graph.node)
        kernels = [
            name
            for name in scaled & weights.keys()
            if weights[name].data_type == onnx.TensorProto.INT8 and len(weights[name].dims) == 4
        ]
        assert len(kernels) == convolutions > 10


def test_a_card_says_how_right_each_class_is() -> None:
    counts = [(2, 0), (0, 0), (500, 500)]
    document = {"class_names": ["rare", "none", "common"], "by_class": counts}
    text = page(*classes_section(document))
    assert text.index("| rare | 2 | 0.00% |") < text.index("| common | 500 | 100.00% |")
    assert "| none" not in text
    assert "the mean over the classes: 50.00%" in text
    assert "uneven: 99.60% of the images are of one class" in text
    many = {"class_names": None, "by_class": [(10, number % 10) for number in range(100)]}
    text = page(*classes_section(many))
    assert "45.00%. These are the 20 worst of 100" in text and "uneven" not in text
    assert text.count("\n| ") == 20 + 2
    assert classes_section({"class_names": []}) == []  # a card of an older version


def test_the_card_states_what_was_checked(package: Path, winner: TrainedNetwork) -> None:
    card = json.loads((package / CARD_JSON).read_text())
    assert list(card["forms"]) == [TORCH, SOURCE, MODEL, MODEL_INT8]
    assert winner.validation is not None
    for name, form in card["forms"].items():
        assert form["images"] == len(winner.validation) == 60
        assert (form["relative"] <= EQUAL) == (name != MODEL_INT8)
        assert 0 <= form["accuracy"] <= 1
    assert card["class_names"] == ["0", "1", "2"]
    images = torch.bincount(winner.validation.labels, minlength=3).tolist()
    assert [count for count, _ in card["by_class"]] == images
    right = sum(right for _, right in card["by_class"])
    assert right / sum(images) == pytest.approx(card["forms"][TORCH]["accuracy"])
    assert (card["digest"], card["trained_digest"]) == (TINY.digest, winner.trained.digest)


def test_any_batch_fits_and_the_timing_file_has_the_full_size(package: Path) -> None:
    sessions = {
        name: onnxruntime.InferenceSession(package / name, providers=["CPUExecutionProvider"])
        for name in (MODEL, MODEL_INT8, TIMING, TIMING_INT8)
    }
    for name, session in sessions.items():
        side = 64 if name.startswith("timing") else 32
        for batch in (1, 3):
            shape = (batch, 3, side, side)
            assert session.run(None, {"input": np.zeros(shape, np.float32)})[0].shape == (batch, 3)


def test_the_models_carry_what_their_user_must_know(package: Path, winner: TrainedNetwork) -> None:
    card = json.loads((package / CARD_JSON).read_text())
    for name in (MODEL, MODEL_INT8):
        session = onnxruntime.InferenceSession(package / name, providers=["CPUExecutionProvider"])
        held = session.get_modelmeta().custom_metadata_map
        assert json.loads(held["class_names"]) == ["0", "1", "2"]
        assert json.loads(held["mean"]) == winner.normalise.mean.tolist()
        assert json.loads(held["deviation"]) == winner.normalise.deviation.tolist()
        assert (held["side"], held["nas_sv2"]) == ("32", card["made_with"]["nas-sv2"])
        assert json.loads(held["fit"]) == card["input"]["fit"] == "crop"


def test_the_fit_of_the_pictures_is_on_the_page_and_in_the_model(data: ImageData) -> None:
    padded = dataclasses.replace(data, fit="pad")
    winner = winner_of(padded)
    held = metadata_of(winner.files(int8=False)[MODEL])
    assert held["fit"] == '"pad"'
    assert input_of({"channels": 3, "side": 32, "centre_of": 32, "fit": "pad"}) == (
        "3 × 32 × 32, pictures padded to squares"
    )


NAMES = ('a "cat"', "Ü\n{dog}'", "")


def test_model_py_has_the_names_of_the_classes(data: ImageData) -> None:
    winner = winner_of(dataclasses.replace(data, class_names=NAMES))
    held: dict[str, object] = {"__name__": "model", "__file__": SOURCE}
    exec(winner.files(int8=False)[SOURCE], held)
    assert held["CLASS_NAMES"] == NAMES


def test_the_page_names_the_classes_and_the_shuffles_that_are_left(
    package: Path, winner: TrainedNetwork
) -> None:
    page = (package / CARD).read_text()
    assert "| classes | 0, 1, 2 |" in page
    nodes = onnx.load(package / MODEL).graph.node
    left = sum(node.op_type == "Transpose" for node in nodes)
    total = sum(isinstance(op.kind, Shuffle) for op in lower(winner.trained).ops)
    assert 0 < left < total
    assert f"{left} of the network's {total} channel shuffles are left" in page
    assert "1.14" in page


def test_weights_that_decayed_next_to_0_are_0_in_every_form(
    data: ImageData, tmp_path: Path
) -> None:
    whole = winner_of(data)
    weights = {name: array.copy() for name, array in whole.weights.items()}
    kernels = [name for name in weights if name.endswith("conv.weight")]
    for number, name in enumerate(kernels):  # some below float32's normal range, some above
        weights[name][: len(weights[name]) // 4] *= np.float32((1e-39, 1e-34)[number % 2])
    winner = write_winner(tmp_path / "w", data, dataclasses.replace(whole, weights=weights))
    card = json.loads((tmp_path / "w" / CARD_JSON).read_text())
    tiny = sum(int(((abs(a) < 1e-30) & (a != 0)).sum()) for a in weights.values())
    assert card["set_to_zero"] == tiny > 1000
    assert (
        f"In every file, {tiny:,} weights closer to 0 than" in (tmp_path / "w" / CARD).read_text()
    )
    files = load_package(tmp_path / "w").files
    arrays = [*load(files[WEIGHTS]).values()]
    for name in (MODEL, MODEL_INT8, TIMING):
        held = onnx.load_model_from_string(files[name]).graph.initializer
        arrays += [onnx.numpy_helper.to_array(tensor) for tensor in held]
    assert not any(((abs(a) < 1e-30) & (a != 0)).any() for a in arrays if a.dtype == np.float32)
    for name, agreement in winner.checked(dict(files)).images.items():
        agreement.check(name, name == MODEL_INT8)


def test_a_model_is_never_read_as_onnxruntimes_own_format(
    package: Path, winner: TrainedNetwork
) -> None:
    """Bytes that ONNX skips as another producer's name, and that onnxruntime takes for its own."""
    model = (package / MODEL).read_bytes()
    marked = b"\x12\x06xxORTM" + model
    assert onnx.load_model_from_string(marked).graph == onnx.load_model_from_string(model).graph
    with pytest.raises(Exception, match="ORT model"):
        onnxruntime.InferenceSession(marked, providers=["CPUExecutionProvider"])
    images = winner.calibration[:2]
    expected = onnx_form(model)(images)
    np.testing.assert_array_equal(onnx_form(marked)(images), expected)


def test_what_was_not_adapted_needs_no_timing_files(data: ImageData) -> None:
    same = dataclasses.replace(TINY, resolution=32)
    files = winner_of(data, same).files()
    assert files.keys() == {ARCHITECTURE, MODEL, MODEL_INT8, SOURCE, WEIGHTS}


def test_a_search_validates_the_int8_file_that_is_shipped(
    winner: TrainedNetwork, data: ImageData
) -> None:
    shipped = winner.checked(winner.files(formats=["onnx"])).images[MODEL_INT8]
    found = validate_int8(winner.trained, winner.weights, data.train, data.val, winner.normalise)
    assert (found.accuracy, found.images) == (shipped.accuracy, shipped.images)


def test_int8_may_be_left_out(winner: TrainedNetwork) -> None:
    with_int8, without = winner.files(), winner.files(int8=False)
    assert with_int8.keys() - without.keys() == {MODEL_INT8, TIMING_INT8}
    assert all(with_int8[name] == content for name, content in without.items())
    assert list(winner.checked(without).images) == [TORCH, SOURCE, MODEL]


def test_a_published_network_has_no_model_py_and_loads_as_a_graph(
    data: ImageData, tmp_path: Path
) -> None:
    mobilenet = published_network("mobilenet_v2_x0_15")
    network = dataclasses.replace(mobilenet, classes=3, resolution=32)
    # Random weights of so narrow a network are lost in int8 where a CPU has no int8 dot product.
    winner = write_winner(tmp_path / "w", data, winner_of(data, network), int8=False)
    assert not (tmp_path / "w" / SOURCE).exists()
    module = nas_sv2.load(tmp_path / "w")
    assert isinstance(module, GraphModule) and not module.training
    images = winner.calibration[:2]
    with torch.no_grad():
        logits = module(torch.from_numpy(images)).numpy()
    expected = run_torch(lower(network), winner.weights, images)
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("name", [MODEL, SOURCE, MODEL_INT8])
def test_a_form_that_is_another_network_is_refused_by_name(
    name: str, package: Path, winner: TrainedNetwork
) -> None:
    text = (package / SOURCE).read_bytes().replace(b"torch.sigmoid(", b"torch.tanh(")
    graph = lower(winner.trained)
    other = shuffle_free_onnx(graph, weights_with_statistics(graph, 9))
    bodies = {
        SOURCE: lambda: text,
        MODEL: lambda: other,
        MODEL_INT8: lambda: quantize(other, winner.calibration[:20]),
    }
    files = {**load_package(package).files, name: bodies[name]()}
    with pytest.raises(StoreError, match=f"{name} and torch disagree"):
        winner.checked(files)


def test_forms_run_on_one_thread(
    winner: TrainedNetwork, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads wait for each other, and collapse beside other programs."""
    threads: list[int] = []

    in_torch = torch_form(winner.trained, winner.weights)

    def asked(images: Array) -> Array:
        threads.append(torch.get_num_threads())
        return in_torch(images)

    def recorded(files: dict[str, bytes], weights: Weights) -> dict[str, Form]:
        threads.append(torch.get_num_threads())  # each runtime takes as many
        return {**forms_of(files, weights), SOURCE: asked}

    for module in (forms, verifying):
        monkeypatch.setattr(module, "forms_of", recorded)
    with cpu_threads(2):
        winner.checked({MODEL: (package / MODEL).read_bytes()})
        assert all(check.holds for check in verify(package))
        assert torch.get_num_threads() == 2
    assert set(threads) == {1}


def test_a_wrong_rewrite_is_found(winner: TrainedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
        return graph, weights_with_statistics(graph, 5)

    monkeypatch.setattr(onnx_forms, "without_shuffles", wrong)
    model = shuffle_free_onnx(lower(winner.trained), winner.weights)
    with pytest.raises(StoreError, match="disagree"):
        winner.checked({MODEL: model})


def test_the_loaded_module_can_be_sent_to_another_process(package: Path) -> None:
    module = nas_sv2.load(package)
    again = pickle.loads(pickle.dumps(module))
    image = torch.ones(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image), module(image))


def listed(out: Path, package: Path, **changed: bytes | None) -> Path:
    """A package whose checksums are right, of other files."""
    files = {**load_package(package).files}
    for name, content in changed.items():
        key = {"weights": WEIGHTS, "trained": TRAINED, "card": CARD_JSON}[name]
        files.pop(key)
        if content is not None:
            files[key] = content
    write_folder(out, files)
    return out


def test_files_that_do_not_belong_together_are_refused(package: Path, tmp_path: Path) -> None:
    found = (package / ARCHITECTURE).read_bytes()
    deep = found.replace(b"depth: 2", b"depth: 1000")
    cases: list[tuple[dict[str, bytes | None], str]] = [
        ({"weights": None}, WEIGHTS),
        ({"weights": b"no weights"}, "readable weights"),
        ({"weights": save({"a": np.zeros(3, np.float32)})}, "weights"),
        ({"trained": found.replace(b"width: 48", b"width: 64")}, "weights"),
        ({"trained": deep}, "weights"),
        ({"trained": b"!!python/object/apply:os.system ['false']"}, "plain data"),
        ({"card": b"{}"}, "card"),
        ({"card": b"[" * 100_000}, "card"),
    ]
    for number, (changed, said) in enumerate(cases):
        with pytest.raises(ConfigError, match=said):
            nas_sv2.load(listed(tmp_path / str(number), package, **changed))


def test_a_pickle_in_the_place_of_weights_is_not_unpickled(package: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "went-off"),)

    out = listed(tmp_path / "w", package, weights=pickle.dumps(Bomb()))
    with pytest.raises(ConfigError, match="readable weights"):
        nas_sv2.load(out)
    assert not (tmp_path / "went-off").exists()
