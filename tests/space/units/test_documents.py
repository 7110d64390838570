import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from strategies import architectures

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.networks.lowering import load_network, network_from_document
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import (
    architecture_from_document,
    architecture_to_document,
    architecture_to_yaml,
)
from nas_sv2.space.units.reference import reference

V2 = reference("shufflenet_v2_x1_0")


@given(architectures())
def test_yaml_and_json_give_the_same_network_back(architecture: Architecture) -> None:
    for text in (
        architecture_to_yaml(architecture),
        json.dumps(architecture_to_document(architecture)),
    ):
        assert architecture_from_document(yaml.safe_load(text)) == architecture


def changed(**changes: Any) -> dict[str, Any]:
    return {**architecture_to_document(V2), **changes}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (changed(nas_sv2_architecture=2), "nas_sv2_architecture"),
        (changed(nas_sv2_architecture="1"), "nas_sv2_architecture"),
        ({"stem": [24]}, "nas_sv2_architecture"),
        (changed(colour="red"), "colour"),
        ({"nas_sv2_architecture": 1, "stem": [24], "stages": []}, "head"),
        (changed(stem=24), "stem"),
        (changed(stages={"depth": 1}), "stages"),
        (changed(stages=[4]), "stages[0]"),
        (changed(stages=[{"depth": 4, "widht": 116}]), "stages[0].widht"),
        (changed(stages=[{"depth": 4, "width": 116, "split": "half"}]), "stages[0].split"),
        (changed(stages=[{"depth": 4, "width": 116, "split": "1/0"}]), "stages[0].split"),
        (changed(stages=[{"depth": 4, "width": 116, "split": "1/3"}]), "stages[0].split"),
        (["a list"], "content"),
        (None, "content"),
    ],
)
def test_bad_documents_are_refused_by_field(document: object, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        architecture_from_document(document)
    assert caught.value.field == field


def test_a_newer_schema_says_so() -> None:
    with pytest.raises(ConfigError, match="newer nas-sv2"):
        architecture_from_document(changed(nas_sv2_architecture=99))


@pytest.mark.parametrize(
    "content",
    [
        b"!!python/object/apply:os.system ['true']",
        b"stem: [24",
        b"\xff\xfe\x00",
        b"nas_sv2_architecture: 1\nstem: [24]\nstages: []\nhead: 8\nx: 1\n",
    ],
)
def test_bad_files_are_refused_in_one_line_that_names_them(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_network(tmp_path / "none.yaml")


def places_of(shape: Any) -> list[Callable[[], Any]]:
    """Every place of a resolution: a network, a published one, a space and a recipe."""
    space, published = named_space("40M"), {"nas_sv2_network": 1, "name": "mobilenet_v2_x1_0"}
    return [
        lambda: architecture_from_document(changed(resolution=shape)),
        lambda: network_from_document({**published, "resolution": shape}),
        lambda: PaperNetwork("mobilenet_v2_x1_0", shape),
        lambda: dataclasses.replace(space, resolution=shape),
        lambda: dataclasses.replace(open_recipe("smoke"), resolution=shape),
    ]


@pytest.mark.parametrize(
    ("shape", "resolution"),
    [
        (160, 160),
        ([192, 256], (192, 256)),
        ((256, 192), (256, 192)),
        ([192, 192], 192),
        ((192, 192), 192),
    ],
)
def test_a_resolution_is_a_side_or_height_and_width(shape: Any, resolution: Any) -> None:
    for place in places_of(shape):
        assert place().resolution == resolution


@pytest.mark.parametrize(
    "shape", ["192x256", {"height": 192}, 0, 96.0, [192], [1, 2, 3], [192, 0], [192, True]]
)
def test_another_shape_is_refused_by_saying_so(shape: Any) -> None:
    match = r"resolution must be the side of a square image or its \[height, width\], each from 1"
    for place in places_of(shape):
        with pytest.raises(ConfigError, match=match):
            place()
