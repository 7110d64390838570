import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data import array_file
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData


def images(count: int, *shape: int, seed: int = 0) -> Any:
    shape = shape or (8, 8)
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def labels(count: int) -> Any:
    return np.arange(count) % 2


def opened(tmp_path: Path, **arrays: Any) -> ImageData:
    np.savez_compressed(tmp_path / "data.npz", **arrays)
    return open_data(f"npz:{tmp_path / 'data.npz'}")


SIZES = {"train": 20, "val": 6, "test": 4}


def words(count: int) -> Any:
    return np.array(["dog", "cat"])[labels(count)]


WHOLE = {
    "train_images": images(20, seed=1),
    "train_labels": labels(20),
    "val_images": images(6, seed=2),
    "val_labels": labels(6),
    "test_images": images(4, seed=3),
    "test_labels": labels(4)[:, None],  # as MedMNIST has them
}


def test_given_parts_are_kept(tmp_path: Path) -> None:
    data = opened(tmp_path, **WHOLE)
    assert [len(part) for part in data.parts] == [20, 6, 4]
    assert (data.channels, data.resolution, data.class_names) == (1, 8, ("0", "1"))
    assert np.array_equal(data.val.images[:, 0].numpy(), WHOLE["val_images"])
    assert open_data(data.name, resolution=4).resolution == 4
    assert open_data(data.name, resolution=4).picture_side == 8


@pytest.mark.parametrize("shape", [(20, 6, 8), (20, 6, 8, 3), (20, 3, 6, 8)])
def test_images_need_not_be_squares(shape: tuple[int, ...], tmp_path: Path) -> None:
    data = opened(tmp_path, images=images(*shape), labels=labels(20))
    assert (data.resolution, data.picture_side) == ((6, 8), 6)
    assert data.channels == (1 if len(shape) == 3 else 3)
    assert open_data(data.name, resolution=(4, 5)).train.images.shape[2:] == (4, 5)


@pytest.mark.parametrize("prefix", ["", "train_"])
def test_validation_is_carved_by_content(prefix: str, tmp_path: Path) -> None:
    arrays = {f"{prefix}images": images(20, 8, 8, 3), f"{prefix}labels": labels(20)}
    data = opened(tmp_path, **arrays)
    assert ([len(part) for part in data.parts], data.channels) == ([16, 4], 3)
    turned = {name: array[::-1] for name, array in arrays.items()}
    val = {image.numpy().tobytes() for image in data.val.images}
    assert val == {image.numpy().tobytes() for image in opened(tmp_path, **turned).val.images}


def test_copies_of_what_is_compared_on_are_left_out_of_train(tmp_path: Path) -> None:
    train = WHOLE["train_images"].copy()
    train[3] = WHOLE["val_images"][0][:, ::-1]
    data = opened(tmp_path, **{**WHOLE, "train_images": train})
    assert len(data.train) == 19
    assert any("left out: 1 image whose" in note for note in data.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None}, "have train_images and train_labels, or .*; it has test_images"),
        ({"val_labels": None}, "must have an array val_labels"),
        ({"train_images": images(20) - 1.0}, "levels from 0 to 255 or from 0 to 1; .* from -1"),
        ({"train_images": images(20) * np.nan}, "from 0 to 1; train_images is float64, .* nan"),
        ({"train_images": images(20) + 1j}, "train_images as numbers .* it is complex128"),
        ({"train_images": images(20, 64)}, r"train_images as numbers .* it is uint8 \(20, 64\)"),
        ({"train_images": images(20, 8, 8, 4)}, r"C of 1 or 3; it is uint8 \(20, 8, 8, 4\)"),
        ({"train_images": images(20, 3, 3, 3)}, r"other than 1 and 3; it is .* \(20, 3, 3, 3\)"),
        ({"train_images": images(20, 3, 8, 1)}, r"other than 1 and 3; it is .* \(20, 3, 8, 1\)"),
        ({"train_images": images(20, 8, 0)}, r"train_images as numbers .* uint8 \(20, 8, 0\)"),
        ({"val_images": images(6, 8, 9)}, r"one shape; val_images has \(1, 8, 9\)"),
        ({"val_images": images(6, 9, 9)}, r"one shape; val_images has \(1, 9, 9\)"),
        ({"x_train": images(20)}, "one array for train images; it has 'train_images', 'x_train'"),
        ({"val_images": None}, "must have images for val_labels"),
        ({"val_labels": labels(5)}, "a label in val_labels for each image; it has 5 for 6 images"),
        ({"val_labels": labels(6) / 2}, "whole numbers, words, .* in val_labels; it is float64"),
        ({"val_labels": labels(6) - 1}, "labels from 0 in val_labels; one is -1"),
        ({"val_labels": labels(6) + 1}, "labels of train in all parts; val has '2'"),
        ({"val_labels": words(6)}, "labels of one kind in all parts"),
        ({"train_labels": labels(20) * 0}, "two classes or more; it has 1"),
        ({"train_labels": np.ones((20, 2), int)}, "rows of labels in all parts; some are num"),
        (
            {"train_labels": np.full((20, 2), 2)},
            "0 or 1 for each label of each image in train_lab",
        ),
        ({"train_labels": np.full((20, 2), np.nan)}, r"train_labels; it is float64 .*, with nan"),
        ({"train_labels": np.zeros((20, 2), "M8[s]")}, "in train_labels; it is datetime64"),
        ({"train_labels": np.eye(3, dtype=int)[labels(20)]}, "every class; '2' has none"),
        (
            {"val_images": images(20, seed=1), "val_labels": labels(20)},
            "must have train images; it has none; left out, as a later part has a copy .*: 20",
        ),
        ({"val_images": images(0), "val_labels": labels(0)}, "must have val images; it has none"),
        (
            {"val_images": None, "val_labels": None, "train_images": images(1).repeat(20, 0)},
            "must have val images; it has none; each class has one image only",
        ),
        (
            {
                **dict.fromkeys(("val_images", "val_labels", "test_images", "test_labels")),
                "train_images": images(1).repeat(20, 0),
                "train_labels": np.ones((20, 2), int),
            },
            "must have val images; it has none; the data set has one image only",
        ),
        (
            {"val_images": np.array([{}] * 6)},
            "a complete .npz file; val_images: objects, .*unpickled",
        ),
    ],
)
def test_an_array_that_does_not_fit_is_named(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arrays = {name: array for name, array in {**WHOLE, **changes}.items() if array is not None}
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, **arrays)


def spelled(images: str, labels: str) -> dict[str, Any]:
    """The arrays of `WHOLE` under other names."""
    return {
        pattern.format(part): WHOLE[f"{part}_{kind}"]
        for part in ("train", "val", "test")
        for kind, pattern in (("images", images), ("labels", labels))
    }


@pytest.mark.parametrize(
    ("arrays", "names", "said"),
    [
        (spelled("{}X", "{}Y"), ("0", "1"), ""),
        (spelled("x_{}", "y_{}"), ("0", "1"), ""),
        (spelled("X_{}", "Y_{}"), ("0", "1"), ""),
        (spelled("{}_x", "{}_y"), ("0", "1"), ""),
        (spelled("{}_data", "{}_target"), ("0", "1"), ""),
        ({**WHOLE, "class_names": np.array(["a", "b"])}, ("0", "1"), "not read: 'class_names'"),
        *(
            (WHOLE | {f"{part}_labels": kind(count) for part, count in SIZES.items()}, names, said)
            for kind, names, said in (
                (words, ("cat", "dog"), ""),
                (lambda count: words(count).astype("S"), ("cat", "dog"), ""),
                (lambda count: labels(count) == 1, ("False", "True"), ""),
                (lambda count: labels(count).astype(float), ("0", "1"), ""),
                (lambda count: np.eye(2)[labels(count)], ("0", "1"), ""),
                (lambda count: labels(count) + 1, ("1", "2"), "labels are '1', '2': 2 classes"),
                (lambda count: labels(count) * 7, ("0", "7"), "labels are '0', '7': 2 classes"),
            )
        ),
    ],
)
def test_arrays_of_other_makers_are_read(
    arrays: dict[str, Any], names: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    data = opened(tmp_path, **arrays)
    assert [len(part) for part in data.parts] == [20, 6, 4]
    assert data.class_names == names
    turned = names == ("cat", "dog")
    assert data.val.labels.tolist() == (labels(6) ^ turned).tolist()
    assert said in "\n".join(data.notes)
    assert np.array_equal(data.val.images[:, 0].numpy(), WHOLE["val_images"])


@pytest.mark.parametrize(
    ("factor", "kind", "white"),
    [
        (1 / 255, np.float32, 1),
        (1.0, np.float64, 255),
        (1, np.int64, 255),
        (257, np.uint16, 65535),
        (16, np.uint16, 4095),
    ],
)
def test_levels_of_all_parts_are_scaled_by_one_range(
    factor: float, kind: Any, white: int, tmp_path: Path
) -> None:
    arrays = {
        n: (a.astype(float) * factor).astype(kind) if "images" in n else a
        for n, a in WHOLE.items()
    }
    data = opened(tmp_path, **arrays)
    expected = np.rint(arrays["test_images"] * (255 / white))
    assert data.test is not None
    assert np.array_equal(data.test.images[:, 0].numpy(), expected)
    assert any(f"0 to {white} became 0 to 255" in note for note in data.notes)


@pytest.mark.parametrize("highest", [1.002, 1 / 255, 16.5, 260])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_levels_of_unclear_white_are_refused(highest: float, kind: Any, tmp_path: Path) -> None:
    levels = (images(6) / images(6).max() * highest).astype(kind)
    with pytest.raises(
        ConfigError, match=r"reach 0\.25 to 1, 128 to 255, .* they reach (1\.00|0\.003|16\.5|260)"
    ):
        opened(tmp_path, images=levels, labels=labels(6))


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_levels_of_more_than_32_bits_are_refused(kind: Any, tmp_path: Path) -> None:
    levels = images(6).astype(kind) * 2**40
    with pytest.raises(ConfigError, match=r"from 0 to 255 or .*, with levels from 0 to .*e\+14"):
        opened(tmp_path, images=levels, labels=labels(6))


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_parts_of_different_ranges_are_refused(kind: Any, tmp_path: Path) -> None:
    arrays = {
        name: array.astype(kind) if "images" in name else array for name, array in WHOLE.items()
    }
    arrays["test_images"] = (arrays["test_images"] / 255).astype(np.float32)
    with pytest.raises(
        ConfigError, match=r"one range in all parts; .* test_images up to 0.976471;"
    ):
        opened(tmp_path, **arrays)


def test_the_share_that_became_validation_is_said(tmp_path: Path) -> None:
    data = opened(tmp_path, images=images(6), labels=np.repeat([0, 1, 2], 2))
    assert [len(part) for part in data.parts] == [3, 3]
    assert any("validation is 3 of 6 training images (50.0%)" in note for note in data.notes)


def bomb(kind: str, file: Path) -> None:
    """An archive that costs much to read, or that numpy's readers fail on."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        header = {"descr": "|u1", "fortran_order": False, "shape": (20_000, 32, 32)}
        text = repr(header) if kind in ("growth", "short") else kind
        if kind == "nested":
            text = "[" * 4000
        length = struct.pack("<H", len(text) + 1)
        start = b"\x93NUMPY\1\0" + length + text.encode() + b"\n"
        with archive.open("images.npy", "w", force_zip64=True) as stream:
            stream.write(start)
            for _ in range(20 if kind == "growth" else 0):
                stream.write(bytes(1_024_000))
        with archive.open("labels.npy", "w") as stream:
            np.save(stream, np.zeros(20_000, np.int64))


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "growth",
            "short",
            "nested",
            "",
            "{}",
            "1",
            "'shape'",
            "{'descr': 'O'}",
            "lambda: 0",
            "((",
        ),
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999, 9999999999999)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': 'zz', 'fortran_order': False, 'shape': (1,)}",
    ],
)
def test_a_file_made_to_do_harm_is_refused_in_little_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_file, "HARMLESS_BYTES", 1_000_000)
    bomb(kind, tmp_path / "bomb.npz")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=r"must be a complete \.npz file") as told:
            open_data(f"npz:{tmp_path / 'bomb.npz'}")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [(6, b"\1\0"), (8, b"\x62\0"), (8, b"\x0e\0"), (8, b"\x0c\0"), (22, b"\1"), (14, b"\x09\x09")],
    ids=["encrypted", "unknown compression", "LZMA", "BZIP2", "sizes", "checksum"],
)
def test_an_archive_that_cannot_be_unpacked_is_refused(
    field: int, value: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "data.npz"
    np.savez_compressed(file, **WHOLE)
    content = bytearray(file.read_bytes())
    for signature, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        at = content.index(signature) + field + shift
        content[at : at + len(value)] = value
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="must be a complete") as told:
        open_data(f"npz:{file}")
    assert "\n" not in str(told.value)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_archives_are_read_or_refused_but_never_crash(
    data: st.DataObject, tmp_path: Path
) -> None:
    file = tmp_path / "data.npz"
    np.savez(file, images=images(4), labels=labels(4))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        open_data(f"npz:{file}")
    except ConfigError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "damage", ["missing", "no file", "empty", "text", "cut", "flipped", "npy"]
)
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    np.savez(file, **WHOLE)
    content = bytearray(file.read_bytes())
    match damage:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("no arrays")
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "flipped":
            content[600] ^= 255
            file.write_bytes(content)
        case "npy":
            with open(file, "wb") as stream:
                np.save(stream, WHOLE["train_images"])
    spec = "npz:" if damage == "no file" else f"npz:{file}"
    with pytest.raises(ConfigError, match=r"data .*; got " + re.escape(repr(spec))) as told:
        open_data(spec)
    assert "\n" not in str(told.value)


def several(count: int, width: int = 3) -> np.ndarray:
    """Rows of labels, of which many have several or none."""
    return np.random.default_rng(count).integers(0, 2, (count, width))


@pytest.mark.parametrize("kind", [int, bool, float, np.uint8])
def test_rows_of_several_labels_stay_as_they_are(kind: Any, tmp_path: Path) -> None:
    rows = {f"{part}_labels": several(n).astype(kind) for part, n in (("train", 20), ("val", 6))}
    pictures = {f"{part}_images": images(n, seed=n) for part, n in (("train", 20), ("val", 6))}
    data = opened(tmp_path, **rows, **pictures)
    assert data.kind == "labels" and data.class_names == ("0", "1", "2")
    assert np.array_equal(data.train.labels.numpy(), several(20).astype(np.float32))
    assert data.val.counts(3) == several(6).sum(0).tolist()
    assert any("several labels an image" in note for note in data.notes)
    other = {**rows, "val_labels": 1 - several(6).astype(int)}
    assert opened(tmp_path, **other, **pictures).key != data.key


def test_a_row_without_a_class_makes_no_image_of_several_labels(tmp_path: Path) -> None:
    rows = np.eye(3, dtype=np.uint8)[np.arange(50) % 3]
    assert opened(tmp_path, images=images(50), labels=rows).kind == "classes"
    rows[7] = 0
    with pytest.raises(ConfigError, match=r"must have a 1 in each row .* row 7 has none"):
        opened(tmp_path, images=images(50), labels=rows)


def test_several_labels_are_split_by_content_alone(tmp_path: Path) -> None:
    data = opened(tmp_path, images=images(50), labels=several(50, 8))
    assert [len(part) for part in data.parts] == [40, 10]
    assert any("validation is 10 of 50" in note for note in data.notes)


def test_a_label_that_training_never_sees_is_refused(tmp_path: Path) -> None:
    rows = several(50) * [1, 0, 1]
    with pytest.raises(ConfigError, match="images of every class; '1' has none"):
        opened(tmp_path, images=images(50), labels=rows)


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_numbers_are_read_where_they_are_asked_for(
    kind: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    numbers = np.arange(50).astype(kind).reshape(shape)
    np.savez(tmp_path / "data.npz", images=images(50), labels=numbers)
    data = open_data(f"npz:{tmp_path / 'data.npz'}", numbers=True)
    assert (data.kind, data.class_names, [len(part) for part in data.parts]) == (
        *("numbers", ("label",)),
        [40, 10],
    )
    assert sorted(torch.cat([part.labels for part in data.parts]).tolist()) == list(range(50))
    assert "the labels are numbers: from 0 to 49" in data.notes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([1.0, np.nan] * 10), "finite numbers in labels; row 1 has nan"),
        (np.array([1.0, 1e300] * 10), r"finite numbers in labels; row 1 has 1e\+300"),
        (words(20), "a number for each image in labels; it is <U3"),
        (labels(20).astype(bool), "a number for each image in labels; it is bool"),
        (np.ones((20, 2)), r"a number for each image in labels; it is float64 \(20, 2\)"),
        (np.ones(19), "a label in labels for each image; it has 19 for 20"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(wrong: Any, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", images=images(20), labels=wrong)
    with pytest.raises(ConfigError, match=message):
        open_data(f"npz:{tmp_path / 'data.npz'}", numbers=True)
