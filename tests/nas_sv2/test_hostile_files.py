"""Whatever a file holds, only errors of ours come out of the readers that meet it."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_sv2.errors import NasError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_to_document
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.networks.lowering import load_network
from nas_sv2.space.units.documents import architecture_to_document
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.record import Record

SPACE = yaml.safe_load(Path("docs/lab/certificates/space.yaml").read_text())
KNOWN = {
    "network.yaml": architecture_to_document(reference("shufflenet_v2_x1_0")),
    "space.yaml": SPACE,
    "recipe.yaml": recipe_to_document(RECIPES["paper"]),
}
READERS: dict[str, Callable[[str], object]] = {
    "network.yaml": lambda path: load_network(Path(path)),
    "space.yaml": open_space,
    "recipe.yaml": open_recipe,
}

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1/2", "1/0", "4e-5", "../x", "inf", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's takes a third of the time


def written(document: Any) -> str:
    text: str = yaml.dump(document, Dumper=DUMPER, allow_unicode=True)
    return text


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in plain data, as the keys that lead there."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(document, dict | list):
        inner = list(document.items() if isinstance(document, dict) else enumerate(document))
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


def replaced(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The document with another value there."""
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = replaced(document[place[0]], place[1:], value)
    return copy


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_value_of_a_good_file_made_anything(
    name: str, tmp_path: Path, data: st.DataObject
) -> None:
    good = json.loads(json.dumps(KNOWN[name], default=list))
    place = data.draw(st.sampled_from(places(good)))
    path = tmp_path / name
    path.write_text(written(replaced(good, place, data.draw(plain))))
    with contextlib.suppress(NasError):
        READERS[name](str(path))


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**70,
    math.nan,
    math.inf,
    -0.5,
    "x",
    "1/0",
    "é",
    [],
    {},
    [[]],
    [1, 2],
)


@pytest.mark.parametrize("name", KNOWN)
def test_every_value_of_a_good_file_made_odd(name: str, tmp_path: Path) -> None:
    good = json.loads(json.dumps(KNOWN[name], default=list))
    path, refused = tmp_path / name, 0
    for place in places(good):
        for odd in ODD:
            path.write_text(written(replaced(good, place, odd)))
            try:
                READERS[name](str(path))
            except NasError:
                refused += 1
    assert refused > len(places(good))


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_file(name: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(NasError):
        READERS[name](str(path))


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system"]
)
@pytest.mark.parametrize("name", KNOWN)
def test_a_file_runs_nothing(name: str, tag: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"nas_sv2_recipe: {tag}\n")
    with pytest.raises(NasError):
        READERS[name](str(path))


@pytest.mark.parametrize("read", [Record.from_json, Evaluation.from_json, Certificate.from_json])
@settings(max_examples=80)
@given(text=st.text(max_size=60) | plain.map(lambda value: json.dumps(value)))
def test_any_text_from_a_database(read: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(NasError):
        read(text)
