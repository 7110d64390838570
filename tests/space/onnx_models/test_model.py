"""Reading an ONNX file: what is taken, and what is refused in one line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import LIGHT

from nas_sv2.errors import ConfigError
from nas_sv2.space.onnx_models import model as model_module
from nas_sv2.space.onnx_models.model import load_model
from nas_sv2.space.onnx_models.nodes import Tensor

Save = Callable[..., Path]
RELU = [helper.make_node("Relu", ["x"], ["y"])]


def test_a_digest_is_of_the_content_and_of_the_shapes(save: Save, tmp_path: Path) -> None:
    path = save(RELU, {"x": ["N", 3, 8, 8]})
    one = load_model(path, {"": (1, 3, 8, 8)})
    moved = path.rename(tmp_path / "other.onnx")
    assert load_model(moved, {"x": (1, 3, 8, 8)}).digest == one.digest
    assert load_model(moved, {"x": (2, 3, 8, 8)}).digest != one.digest
    moved.write_bytes(moved.read_bytes().replace(b"Relu", b"Sqrt"))
    assert load_model(moved, {"x": (1, 3, 8, 8)}).digest != one.digest


def test_inputs_have_their_shapes_in_the_model_too(save: Save) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    path = save(nodes, {"a": ["N", 4], "b": [4]})
    found = load_model(path, {"a": (2, 4)})
    assert found.inputs == (Tensor("a", (2, 4)), Tensor("b", (4,)))
    assert found.batch == 2
    a = onnx.load_model_from_string(found.body).graph.input[0]
    assert [size.dim_value for size in a.type.tensor_type.shape.dim] == [2, 4]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1, 3, 8, 8)}, r"input must name an input of .*m.onnx: x; got 'z'"),
        ({"x": (1, 3, 8)}, r"must have 4 axes, as Nx3x8x8; got '1x3x8'"),
        ({"x": (1, 3, 8, 9)}, r"must have 8 on axis 3, as the file has; got '1x3x8x9'"),
        ({"x": (0, 3, 8, 8)}, r"must have sizes of at least 1; got '0x3x8x8'"),
        ({"x": (-1, 3, 8, 8)}, r"must have sizes of at least 1; got '-1x3x8x8'"),
        ({"x": (1 << 30, 3, 8, 8)}, r"must have at most 268,435,456 numbers"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(
    save: Save, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    path = save(RELU, {"x": ["N", 3, 8, 8]})
    with pytest.raises(ConfigError, match=message):
        load_model(path, shapes)


def test_an_open_batch_is_1_if_nothing_else_is_open(save: Save) -> None:
    path = save(RELU, {"x": ["N", 3, 8, 8]})
    one = load_model(path)
    assert one.batch_taken and one.inputs == (Tensor("x", (1, 3, 8, 8)),)
    asked = load_model(path, {"": (1, 3, 8, 8)})
    assert not asked.batch_taken and asked.digest == one.digest
    add = [helper.make_node("Add", ["a", "b"], ["y"])]
    both = save(add, {"a": ["N", 4], "b": ["N", 4]})
    assert load_model(both).batch == 1
    with pytest.raises(ConfigError, match="input b leaves axis 0 open"):
        load_model(both, {"a": (2, 4)})


@pytest.mark.parametrize(
    ("shape", "axis"), [(["N"], 0), ([1, 3, "H", 8], 2), (["N", 3, "H", 8], 0), ([-1, 0], 0)]
)
def test_other_open_sizes_are_asked_for_by_name(
    save: Save, shape: list[str | int], axis: int
) -> None:
    path = save(RELU, {"x": shape})
    with pytest.raises(ConfigError, match=f"input x leaves axis {axis} open; give all sizes as"):
        load_model(path)


def test_one_shape_for_several_inputs_must_be_named(save: Save) -> None:
    path = save([helper.make_node("Add", ["a", "b"], ["y"])], {"a": [4], "b": [4]})
    with pytest.raises(ConfigError, match=r"as NAME=SHAPE: .*m.onnx has the inputs a, b"):
        load_model(path, {"": (4,)})


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 99, b"PK\x03\x04", b"\x80\x04."])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"must be an? (valid )?ONNX model"):
        load_model(path)


def test_a_model_that_is_cut_is_refused(save: Save) -> None:
    path = save(RELU, {"x": [1, 3]})
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match="ONNX model"):
            load_model(path)


def test_a_folder_a_pipe_and_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for name in (".", "none.onnx", "pipe.onnx"):
        with pytest.raises(ConfigError, match="must be a readable ONNX file"):
            load_model(tmp_path / name)


def test_an_operator_of_an_unknown_domain_is_named(save: Save) -> None:
    nodes = [helper.make_node("Magic", ["x"], ["y"], "spell", domain="my.ops")]
    path = save(nodes, {"x": [4]})
    with pytest.raises(
        ConfigError, match=r"operator Magic of node spell must be .*; got 'my.ops'"
    ):
        load_model(path)


def test_an_unknown_operator_is_refused(save: Save) -> None:
    with pytest.raises(ConfigError, match=r"must be a valid ONNX model .*Magic"):
        load_model(save([helper.make_node("Magic", ["x"], ["y"])], {"x": [4]}))


def test_functions_of_the_model_are_put_in_place(save: Save) -> None:
    opsets = [helper.make_opsetid("", 13)]
    body = helper.make_function("own", "Twice", ["a"], ["b"], [
        helper.make_node("Add", ["a", "a"], ["b"])
    ], opsets)  # fmt: skip
    path = save([helper.make_node("Twice", ["x"], ["y"], domain="own")], {"x": [4]})
    model = onnx.load(path)
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, path)
    assert [node.operator for node in load_model(path).graph.nodes] == ["Add"]


def external(save: Save, location: str, **stated: str) -> Path:
    """A model whose weight of four numbers is said to be in the file `location`."""
    path = save([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [4]}, {"w": np.ones(4, "f")})
    model = onnx.load(path)
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "length": "16", **stated}.items():
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_are_read_from_the_folder(save: Save, tmp_path: Path) -> None:
    path = external(save, "w.bin")
    (tmp_path / "w.bin").write_bytes(np.arange(4, dtype="f").tobytes())
    one = load_model(path)
    assert np.arange(4, dtype="f").tobytes() in one.body
    (tmp_path / "w.bin").write_bytes(np.ones(4, "f").tobytes())
    assert load_model(path).digest != one.digest


def test_external_data_elsewhere_are_refused(save: Save, tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (inside / "link.bin").symlink_to(tmp_path / "w.bin")
    for location in ("../w.bin", str(tmp_path / "w.bin"), "link.bin", "", "a/../../w.bin"):
        path = external(save, location).rename(inside / "m.onnx")
        with pytest.raises(ConfigError, match="external data of w must be in the folder"):
            load_model(path)


@pytest.mark.parametrize(
    ("content", "stated"),
    [(None, {}), (bytes(8), {}), (bytes(16), {"offset": "-4"}), (bytes(16), {"length": "many"})],
)
def test_external_data_that_cannot_be_read_are_refused(
    save: Save, tmp_path: Path, content: bytes | None, stated: dict[str, str]
) -> None:
    path = external(save, "w.bin", **stated)
    if content is not None:
        (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(ConfigError, match=r"external data of w must|must be a valid ONNX model"):
        load_model(path)


def test_external_data_that_are_a_pipe_or_too_large_are_refused(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no regular file"):
        load_model(external(save, "pipe"))
    (tmp_path / "w.bin").write_bytes(bytes(16))
    path = external(save, "w.bin", length=str(1 << 31))
    with pytest.raises(ConfigError, match="must have less than 2 GiB"):
        load_model(path)
    monkeypatch.setattr(model_module, "MOST_MODEL_BYTES", 10)
    with pytest.raises(ConfigError, match="more than 10 bytes"):
        load_model(path)


def test_nodes_without_names_get_some_of_their_own(save: Save) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"], "a")]
    found = onnx.load_model_from_string(load_model(save(nodes, {"x": [4]})).body)
    assert [node.name for node in found.graph.node] == ["a", "a_1"]


@pytest.mark.parametrize("file", sorted(LIGHT.glob("*.onnx")), ids=lambda file: file.stem)
def test_the_light_models_of_onnx_are_read(file: Path) -> None:
    (image,) = load_model(file).inputs
    assert image.shape == (1, 3, 224, 224)


def test_a_sequence_and_texts_are_no_inputs(save: Save) -> None:
    path = save(RELU, {"x": [4]})
    model = onnx.load(path)
    described: list[tuple[Any, str]] = [
        (helper.make_tensor_type_proto(TensorProto.STRING, [4]), "must be of numbers"),
        (
            helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [4])),
            "must be a tensor",
        ),
    ]
    for kind, message in described:
        model.graph.input[0].type.CopyFrom(kind)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ConfigError, match=message):
            load_model(path)
