"""COCO's layout: what is read, and one line for each fault."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.detection import file_digests
from nas_sv2.evaluate.detection.data import open_scenes

Document = dict[str, Any]
Coco = Callable[..., Path]


def test_images_boxes_and_categories_are_read(coco: Coco) -> None:
    data = open_scenes(f"coco:{coco()}")
    assert data.categories == ("cat", "dog")  # by their ids, not by their places
    assert (len(data.train), len(data.val), data.notes) == (4, 2, ())
    scene = data.train.scenes[1]
    assert (scene.number, scene.height, scene.width) == (101, 40, 60)
    assert scene.boxes.tolist() == [[6.0, 4.0, 26.0, 14.0]]
    assert (scene.classes.tolist(), scene.areas.tolist()) == ([1], [150.0])
    assert np.all(data.train.read(1) == 50)
    assert data.key == open_scenes(data.name).key


def test_the_images_may_lie_in_images(coco: Coco) -> None:
    root = coco()
    (root / "images").mkdir()
    for part in ("train2017", "val2017"):
        (root / part).rename(root / "images" / part)
    assert len(open_scenes(f"coco:{root}").train) == 4


def test_what_is_left_out_is_said(coco: Coco) -> None:
    def change(document: Document) -> None:
        document["annotations"][0]["bbox"] = [5, 4, 0, 10]
        document["annotations"][1]["iscrowd"] = 1
        document["annotations"][2]["bbox"] = [45.5, 4, 15, 10]  # half a pixel outside

    data = open_scenes(f"coco:{coco(change)}")
    assert len(data.train) == 2
    assert data.train.scenes[0].boxes[0, 2] == 60
    assert data.notes == (
        "instances_train2017.json: boxes without an area in their image, left out: 1",
        "instances_train2017.json: images without a box, left out: 2",
    )


@pytest.mark.parametrize(
    "box", [[60, 4, 0.5, 10], [5, -1, 10, 1], [50, 4, 1e-7, 10]], ids=["right", "above", "thin"]
)
def test_a_box_without_an_area_in_its_image_is_left_out(coco: Coco, box: list[float]) -> None:
    def change(document: Document) -> None:
        document["annotations"].append({"image_id": 100, "category_id": 7, "bbox": box})

    data = open_scenes(f"coco:{coco(change)}")
    assert data.train.scenes[0].boxes.tolist() == [[5.0, 4.0, 25.0, 14.0]]
    assert data.notes == (
        "instances_train2017.json: boxes without an area in their image, left out: 1",
    )


def test_other_pixels_are_other_data(coco: Coco) -> None:
    root = coco()
    key = open_scenes(f"coco:{root}").key
    for file in root.glob("*2017/*.png"):
        os.utime(file, ns=(0, 1))  # as in a copy of the folder
    root = root.rename(root.with_name("moved"))
    assert open_scenes(f"coco:{root}").key == key
    Image.new("RGB", (60, 40), "red").save(root / "val2017" / "1.png")
    changed = open_scenes(f"coco:{root}").key
    assert changed != key
    Image.new("RGB", (60, 40), "blue").save(root / "train2017" / "1.png")
    assert open_scenes(f"coco:{root}").key not in (key, changed)


def test_an_image_that_is_unchanged_is_read_once(
    coco: Coco, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, lines = coco(), list[str]()
    monkeypatch.setattr(file_digests, "MANY", 2)
    data = open_scenes(f"coco:{root}", lines.append)
    assert lines == [f"reading 6 image files of {root}, once, to know their content"]
    assert open_scenes(data.name, lines.append).key == data.key
    for file in root.glob("train2017/*.png"):
        os.utime(file, ns=(0, 1))
    assert open_scenes(data.name, lines.append).key == data.key
    assert lines[1:] == [f"reading 4 image files of {root}, once, to know their content"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"0.png": 3}'])
def test_damaged_digests_are_made_again(
    content: bytes, coco: Coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = open_scenes(f"coco:{coco()}")
    (kept,) = (tmp_path / "cache" / "nas-sv2" / "digests").iterdir()
    kept.write_bytes(content)
    assert open_scenes(data.name).key == data.key


def test_a_training_image_that_is_in_val_too_is_left_out(coco: Coco) -> None:
    root = coco()
    shutil.copy(root / "val2017" / "1.png", root / "train2017" / "2.png")
    data = open_scenes(f"coco:{root}")
    assert [scene.number for scene in data.train.scenes] == [100, 101, 103]
    assert [int(data.train.read(index)[0, 0, 0]) for index in range(3)] == [0, 50, 150]
    assert (len(data.val), data.notes) == (2, ("training images with a copy in val, left out: 1",))


def test_data_without_an_image_to_train_on_are_refused(coco: Coco) -> None:
    def change(document: Document) -> None:
        for one in document["annotations"]:
            one["iscrowd"] = 1

    with pytest.raises(ConfigError, match=r"a training image with a box \(.*left out: 4\)"):
        open_scenes(f"coco:{coco(change)}")


def annotation(**fields: object) -> Callable[[Document], None]:
    return lambda document: document["annotations"][2].update(fields)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (annotation(bbox=[50, 4, 20, 10]), r"annotations\[2\].bbox must be within image 102"),
        (annotation(bbox=[-9, 4, 20, 10]), r"annotations\[2\].bbox must be within image 102"),
        (annotation(bbox=[1, 4, -2, 10]), r"must be annotations as COCO's .*bbox"),
        (annotation(bbox=[1, 4, 2]), r"must be annotations as COCO's .*bbox"),
        (annotation(category_id=8), r"category_id must be the id of a category; got 8"),
        (annotation(image_id=8), r"image_id must be the id of an image; got 8"),
        (annotation(category_id="dog"), r"must be annotations as COCO's .*category_id"),
        (lambda document: document.update(annotations=[]), r"annotations must have at least one"),
        (lambda document: document.update(images=[]), r"images must have at least one entry"),
        (lambda document: document.pop("categories"), r"must be annotations as COCO's"),
        (
            lambda document: document["categories"].append({"id": 3, "name": "cow"}),
            r"categories: id must be there once; got 3",
        ),
        (
            lambda document: document["categories"].append({"id": 9, "name": "cow"}),
            r"instances_val2017.json: categories must be as .*train2017",
        ),
        (
            lambda document: document["images"][0].update(file_name="../val2017/0.png"),
            r"file_name of image 100 must be an image in",
        ),
        *(
            (
                lambda document, name=name: document["images"][0].update(file_name=name),
                r"file_name of image 100 must be an image in",
            )
            for name in ("none.png", "x" * 300, "a\0b")
        ),
    ],
)
def test_a_fault_is_named(coco: Coco, change: Callable[[Document], None], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        open_scenes(f"coco:{coco(change)}")


def test_an_empty_or_damaged_file_is_refused(coco: Coco) -> None:
    root = coco()
    file = root / "annotations" / "instances_train2017.json"
    for content, line in (("", "it is empty"), ("{", "must be annotations as COCO's")):
        file.write_text(content)
        with pytest.raises(ConfigError, match=line):
            open_scenes(f"coco:{root}")
    file.unlink()
    with pytest.raises(ConfigError, match="there are 0 of train"):
        open_scenes(f"coco:{root}")
    with pytest.raises(ConfigError, match="there is no such folder"):
        open_scenes(f"coco:{root}x")
    for spec in ("coco:", "coco", "animals", "drawn:x"):
        with pytest.raises(ConfigError, match="must be drawn"):
            open_scenes(spec)


def test_an_image_that_is_not_as_annotated_is_refused_when_it_is_read(coco: Coco) -> None:
    root = coco()
    Image.new("RGB", (61, 40)).save(root / "train2017" / "0.png")
    (root / "train2017" / "1.png").write_bytes(b"\x89PNG")
    train = open_scenes(f"coco:{root}").train
    with pytest.raises(EvaluationError, match="61×40 pixels, and its annotation says 60×40"):
        train.read(0)
    with pytest.raises(EvaluationError, match=r"1\.png cannot be used"):
        train.read(1)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_an_image_of_more_than_8_bits_is_refused_when_it_is_read(coco: Coco, kind: type) -> None:
    root = coco()
    levels: Any = np.full((40, 60), 300, kind)
    Image.fromarray(levels).save(root / "train2017" / "0.png", "tiff")
    with pytest.raises(EvaluationError, match=r"0\.png cannot be used: .* more than 8 bits"):
        open_scenes(f"coco:{root}").train.read(0)
