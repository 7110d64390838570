import contextlib
import gzip
import os
import pickle
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data import datasets
from nas_sv2.evaluate.data.datasets import open_animals, read_array
from nas_sv2.evaluate.data.image_data import ImageData


def test_no_image_nor_its_mirror_is_on_two_sides(animals: ImageData) -> None:
    sides = []
    for part in animals.parts:
        plain = {image.numpy().tobytes() for image in part.images}
        mirrored = {image.numpy().tobytes() for image in part.images.flip(3)}
        assert len(plain) == len(part)
        sides.append(plain | mirrored)
    train, val, test = sides
    assert not train & val
    assert not train & test
    assert not val & test


def test_the_counts_are_those_that_are_told(animals: ImageData) -> None:
    assert animals.test is not None
    assert sum(map(len, animals.parts)) == 9716
    assert "9,716 of 10,000" in animals.notes[0]
    assert f"{len(animals.train):,} train, {len(animals.val):,} val" in animals.notes[1]
    assert len(animals.val) == 2000
    assert (animals.classes, animals.channels, animals.side) == (10, 1, 28)
    for part in animals.parts:
        counts = part.labels.bincount()
        assert counts.min() > 0.8 * counts.max()


def test_content_and_split_are_the_same_each_time(animals: ImageData) -> None:
    again = open_animals()
    assert again.key == animals.key
    assert torch.equal(again.val.images, animals.val.images)


class Malicious:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize(
    "payload",
    [
        Malicious(os.system, "touch owned"),
        Malicious(eval, "__import__('os').mkdir('owned')"),
        Malicious(np.load, "owned"),
        Malicious(np.array([1]).tofile, "owned"),
        Malicious(getattr, "text", "upper"),
        [np.zeros(2)],
        {"a": 1},
        np.array([{"a": 1}], dtype=object),
        np.ma.masked_array([1, 2]),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_a_pickle_of_anything_but_an_array_is_refused(
    payload: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvaluationError, match="refused"):
        read_array(pickle.dumps(payload))
    assert not list(tmp_path.iterdir())


@given(st.binary(max_size=60), st.integers(0, 200))
def test_a_damaged_pickle_is_refused_and_never_something_else(junk: bytes, cut: int) -> None:
    whole = pickle.dumps(np.arange(20, dtype=np.uint8), protocol=4)
    for content in (junk, whole[:cut], whole[:cut] + junk):
        if content != whole:
            with contextlib.suppress(EvaluationError):
                assert type(read_array(content)) is np.ndarray


@pytest.mark.parametrize("protocol", [3, 4])
def test_an_array_is_read(protocol: int) -> None:
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert np.array_equal(read_array(pickle.dumps(array, protocol=protocol)), array)


def test_a_missing_distribution_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(EvaluationError, match="not installed; pip install"):
        open_animals()


def test_other_content_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "ANIMAL_LABELS", (datasets.ANIMAL_LABELS[0], "0" * 64))
    with pytest.raises(EvaluationError, match="is not the file of"):
        open_animals()


def test_a_damaged_file_of_animals_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "cut.gz"
    file.write_bytes(gzip.compress(b"content")[:-9])
    monkeypatch.setattr(datasets, "_find_animals", lambda name: file)
    with pytest.raises(EvaluationError, match=r"cannot be read: .* pip install"):
        open_animals()
