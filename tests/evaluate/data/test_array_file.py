import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.open_data import open_data


def images(count: int, *shape: int, seed: int = 0) -> Any:
    shape = shape or (8, 8)
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def labels(count: int) -> Any:
    return np.arange(count) % 2


def opened(tmp_path: Path, **arrays: Any) -> ImageData:
    np.savez_compressed(tmp_path / "data.npz", **arrays)
    return open_data(f"npz:{tmp_path / 'data.npz'}")


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
    assert (data.channels, data.side, data.class_names) == (1, 8, ("0", "1"))
    assert np.array_equal(data.val.images[:, 0].numpy(), WHOLE["val_images"])
    assert open_data(data.name, resolution=4).side == 4


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
    assert any("left out: 1 images" in note for note in data.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None}, "have train_images and train_labels, or .*; it has test_images"),
        ({"val_labels": None}, "must have an array val_labels"),
        ({"train_images": images(20).astype(float)}, "train_images as uint8 .* it is float64"),
        ({"val_images": images(6, 8, 9)}, r"val_images as .* it is uint8 \(6, 8, 9\)"),
        ({"val_images": images(6, 9, 9)}, r"one shape; val_images has \(1, 9, 9\)"),
        ({"val_labels": labels(5)}, r"6 whole numbers in val_labels; it is int64 \(5,\)"),
        ({"val_labels": labels(6) / 2}, "6 whole numbers in val_labels; it is float64"),
        ({"val_labels": labels(6) - 1}, "numbers from 0 in val_labels; one is -1"),
        ({"val_labels": labels(6) + 1}, "val_labels below 2, .*; one is 2"),
        ({"train_labels": labels(20) * 2}, "every class in train_labels; class 1 has none"),
        ({"val_images": images(0), "val_labels": labels(0)}, "must have val images; it has none"),
        ({"val_images": np.array([{}] * 6)}, "a complete .npz file; val_images: .*pickle"),
    ],
)
def test_an_array_that_does_not_fit_is_named(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arrays = {name: array for name, array in {**WHOLE, **changes}.items() if array is not None}
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, **arrays)


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
