import contextlib
import gzip
import os
import pickle
import struct
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data import datasets, image_data
from nas_sv2.evaluate.data.datasets import open_animals, open_data, read_array, read_idx
from nas_sv2.evaluate.data.image_data import ImageData


def idx(array: Any) -> bytes:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture(params=[".gz", ""])
def fashion(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small Fashion-MNIST, as Debian packs it or unpacked."""
    for part, count in (("train", 200), ("t10k", 30)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28))
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(count) % 10)):
            content = idx(array)
            if request.param:
                content = gzip.compress(content)
            (tmp_path / f"{part}-{kind}-ubyte{request.param}").write_bytes(content)
    return tmp_path


def test_fashion_mnist_is_read_from_a_folder(fashion: Path) -> None:
    data = open_data(f"fashion-mnist:{fashion}")
    assert data.test is not None
    assert [len(part) for part in data.parts] == [180, 20, 30]
    assert (data.classes, data.channels, data.resolution) == (10, 1, 28)
    assert data.val.labels.bincount().tolist() == [2] * 10
    expected = np.random.default_rng(30).integers(0, 256, (30, 28, 28))
    assert torch.equal(data.test.images[:, 0], torch.from_numpy(expected.astype(np.uint8)))


def test_another_resolution_is_another_content(fashion: Path) -> None:
    data = open_data(f"fashion-mnist:{fashion}")
    smaller = open_data(f"fashion-mnist:{fashion}", resolution=14)
    assert smaller.resolution == 14
    assert smaller.key != data.key
    means = (one.train.images.double().mean() for one in (data, smaller))
    assert abs(next(means) - next(means)) < 1


def test_a_missing_part_is_named(fashion: Path) -> None:
    next(fashion.glob("t10k-labels*")).unlink()
    with pytest.raises(ConfigError, match="t10k-labels-idx1-ubyte"):
        open_data(f"fashion-mnist:{fashion}")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\x03",
        idx(np.zeros((2, 3))),
        idx(np.zeros((2, 3, 3)))[:-1],
        idx(np.zeros((2, 3, 3))) + b"\0",
        b"\0\0\x0d\x03" + idx(np.zeros((2, 3, 3)))[4:],
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".gz cut"])
def test_a_damaged_file_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    if suffix:
        content = gzip.compress(content)
    if suffix == ".gz cut":
        content = content[:-4]
    file = tmp_path / f"images{suffix[:3]}"
    file.write_bytes(content)
    with pytest.raises(EvaluationError, match="images"):
        read_idx(file, 3)


@pytest.mark.parametrize("name", datasets.PUBLISHED)
def test_without_a_network_it_says_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*_: object, **__: object) -> NoReturn:
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(datasets, "DEBIAN", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EvaluationError, match=f"{name}:FOLDER.*data animals") as told:
        open_data(name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", datasets.PUBLISHED)
def test_a_folder_without_the_set_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"data .*under which torchvision keeps.*; got '{name}:"):
        open_data(f"{name}:{tmp_path}")
    with pytest.raises(ConfigError, match="is not one"):
        open_data(f"{name}:{tmp_path}/missing")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_through_torchvision(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Fake:
        classes = ("a", "b")

        def __init__(self, root: Path, *, train: bool, download: bool) -> None:
            assert (root, download) == (tmp_path, False)
            count = 40 if train else 10
            self.data = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3))
            self.targets = [index % 2 for index in range(count)]

    monkeypatch.setattr(f"torchvision.datasets.{name.upper()}", Fake)
    data = open_data(f"{name}:{tmp_path}")
    assert data.test is not None
    assert [len(part) for part in data.parts] == [36, 4, 10]
    assert (data.channels, data.resolution, data.class_names) == (3, 32, ("a", "b"))
    expected = np.random.default_rng(10).integers(0, 256, (10, 32, 32, 3)).transpose(0, 3, 1, 2)
    assert np.array_equal(data.test.images.numpy(), expected)


@pytest.mark.parametrize("spec", ["", "animal", "animals:", "animals:x", "mnist", ":animals"])
def test_an_unknown_spec_is_refused_with_those_there_are(spec: str) -> None:
    with pytest.raises(ConfigError, match="one of animals, fashion-mnist"):
        open_data(spec)


def test_animals_at_another_resolution() -> None:
    data = open_data("animals", resolution=16)
    assert data.resolution == 16
    assert data.key != open_data("animals").key


@pytest.mark.parametrize(
    ("side", "said"),
    [(0, "from 1 to 16384"), (10**9, "from 1 to 16384"), (16384, "at most 1024 pixels")],
)
def test_a_side_that_no_image_has_is_refused(side: int, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"resolution must be .*{said}.*; got {side}"):
        open_data("animals", resolution=side)


def test_images_that_no_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_data, "memory_bytes", lambda: 10**9)
    with pytest.raises(ConfigError, match=r"6,501 images of that size take 7 GB.*; got 1024"):
        open_data("animals", resolution=1024)


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
    assert (animals.classes, animals.channels, animals.resolution) == (10, 1, 28)
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


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n"])
def test_a_pickle_that_asks_for_memory_is_refused(put: bytes) -> None:
    with pytest.raises(EvaluationError, match="its memo has place 2147483647"):
        read_array(b"K\x01" + put + b".")


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
