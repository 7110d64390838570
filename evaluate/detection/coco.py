"""Data in COCO's layout: `coco:PATH`.

::

    PATH/annotations/instances_train2017.json    any year, or none
    PATH/annotations/instances_val2017.json
    PATH/train2017/000000000009.jpg              or PATH/images/train2017/
    PATH/val2017/...

Images are decoded when a batch needs them. Everything else is checked when the data are opened.
The content of the data is that of the annotations and of the image files. A training image with a
copy among the validation images is left out.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from PIL import Image

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.decoding import FORMATS, PIXEL_LIMIT
from nas_sv2.evaluate.detection.file_digests import file_digests
from nas_sv2.evaluate.detection.scenes import Pixels, Scene, SceneData, Scenes
from nas_sv2.files import read_bounded
from nas_sv2.plain_data import printable

LAYOUT = "must be a folder in COCO's layout, with annotations/instances_train*.json and _val*.json"
MOST_BYTES = 1 << 31  # of an annotation file; that of COCO's training images has 0.45 GB
ROUNDING = 1.0
"""Pixels by which a box may be outside its image, and is cut: COCO's own boxes are rounded."""

THINNEST = 0.005
"""Least side of a box in its image, in pixels: half of the last digit of COCO's own boxes.

torchvision trains on no box without an area, and float32 may lose a thinner one."""

Length = Annotated[float, Meta(ge=0)]


class ImageEntry(msgspec.Struct):
    """An entry of `images`."""

    id: int
    file_name: str
    width: Annotated[int, Meta(ge=1)]
    height: Annotated[int, Meta(ge=1)]


class Annotation(msgspec.Struct):
    """An entry of `annotations`; a box is x, y, width, height."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, Length, Length]
    area: Length | None = None
    iscrowd: Annotated[int, Meta(ge=0, le=1)] = 0
    id: int = 0


class Category(msgspec.Struct):
    """An entry of `categories`."""

    id: int
    name: str


class Instances(msgspec.Struct):
    """An annotation file; other keys are not read."""

    images: list[ImageEntry]
    annotations: list[Annotation]
    categories: list[Category]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file and its boxes."""

    file: Path
    scene: Scene


def open_coco(spec: str, path: Path, notify: Callable[[str], None]) -> SceneData:
    """Open data in COCO's layout.

    Args:
        spec: The user's text.
        path: The folder.
        notify: Is called with a line before many files are read.

    Raises:
        ConfigError: The folder has another layout, or an annotation is not allowed; names it.
        EvaluationError: The user has no home for a cache.
    """
    files = [_only(spec, path, part) for part in ("train", "val")]
    contents = [_content(file) for file in files]
    train, val = (_instances(file, body) for file, body in zip(files, contents, strict=True))
    names = {one.id: one.name for one in train.categories}
    if {one.id: one.name for one in val.categories} != names:
        raise ConfigError(f"{files[1]}: categories", len(val.categories), f"must be as {files[0]}")
    classes = {number: place for place, number in enumerate(sorted(names))}
    notes: list[str] = []
    to_train, to_score = (
        _part(file, _folder(path, file), instances, classes, instances is train, notes)
        for file, instances in zip(files, (train, val), strict=True)
    )
    digests = file_digests(path, [one.file for one in (*to_train, *to_score)], notify)
    key = _key(contents, [[digests[one.file] for one in part] for part in (to_train, to_score)])
    trained_on = _without_copies(to_train, to_score, digests, notes)
    if not trained_on:
        reason = "; ".join(notes)
        raise ConfigError("data", spec, f"must have a training image with a box ({reason})")
    categories = tuple(names[number] for number in classes)
    return SceneData(spec, key, categories, _scenes(trained_on), _scenes(to_score), tuple(notes))


def _key(contents: Sequence[bytes], digests: Sequence[Sequence[str]]) -> str:
    annotations = [hashlib.sha256(body).hexdigest() for body in contents]
    return hashlib.sha256(msgspec.json.encode([annotations, digests])).hexdigest()[:16]


def _without_copies(
    train: Sequence[Picture],
    val: Sequence[Picture],
    digests: Mapping[Path, str],
    notes: list[str],
) -> list[Picture]:
    compared_on = {digests[one.file] for one in val}
    kept = [one for one in train if digests[one.file] not in compared_on]
    if copies := len(train) - len(kept):
        notes.append(f"training images with a copy in val, left out: {copies:,}")
    return kept


def _scenes(pictures: Sequence[Picture]) -> Scenes:
    return Scenes([one.scene for one in pictures], lambda index: _decoded(pictures[index]))


def _only(spec: str, path: Path, part: str) -> Path:
    if not os.path.isdir(path):
        raise ConfigError("data", spec, f"{LAYOUT}; there is no such folder")
    found = sorted(path.glob(f"annotations/instances_{part}*.json"))
    if len(found) != 1:
        raise ConfigError("data", spec, f"{LAYOUT}; there are {len(found)} of {part}")
    return found[0]


def _folder(path: Path, file: Path) -> Path:
    name = file.stem.removeprefix("instances_")
    for folder in (path / name, path / "images" / name):
        if os.path.isdir(folder):
            return folder
    raise ConfigError(
        "data", str(path), f"must have the images of {file.name} in {name}/ or images/{name}/"
    )


def _content(file: Path) -> bytes:
    try:
        return read_bounded(file, MOST_BYTES)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError("file", str(file), f"must be readable ({reason})") from None


def _instances(file: Path, content: bytes) -> Instances:
    if not content.strip():
        raise ConfigError("file", str(file), "must have annotations; it is empty")
    try:
        found = msgspec.json.decode(content, type=Instances)
    except msgspec.MsgspecError as error:
        reason = printable(str(error))
        raise ConfigError("file", str(file), f"must be annotations as COCO's ({reason})") from None
    for name in ("images", "annotations", "categories"):
        if not getattr(found, name):
            raise ConfigError(f"{file}: {name}", [], "must have at least one entry")
    for name, entries in (("images", found.images), ("categories", found.categories)):
        number, count = Counter(one.id for one in entries).most_common(1)[0]
        if count > 1:
            raise ConfigError(f"{file}: {name}: id", number, "must be there once")
    return found


def _part(
    file: Path,
    folder: Path,
    instances: Instances,
    classes: Mapping[int, int],
    training: bool,
    notes: list[str],
) -> list[Picture]:
    """Check the annotations of a part; training images without a box are left out."""
    images = {one.id: one for one in instances.images}
    of_image: dict[int, list[Annotation]] = defaultdict(list)
    flat = 0
    for place, one in enumerate(instances.annotations):
        where = f"{file}: annotations[{place}]"
        if one.category_id not in classes:
            raise ConfigError(
                f"{where}.category_id", one.category_id, "must be the id of a category"
            )
        if one.image_id not in images:
            raise ConfigError(f"{where}.image_id", one.image_id, "must be the id of an image")
        _check_box(where, one, images[one.image_id])
        if _shorter_side(one, images[one.image_id]) >= THINNEST:
            of_image[one.image_id].append(one)
        else:
            flat += 1
    kept = [
        one
        for one in instances.images
        if not training or any(not box.iscrowd for box in of_image[one.id])
    ]
    for count, what in (
        (flat, "boxes without an area in their image, left out"),
        (len(images) - len(kept), "images without a box, left out"),
    ):
        notes += [f"{file.name}: {what}: {count:,}"] * bool(count)
    return [
        Picture(_image_file(file, folder, one), _scene(one, of_image[one.id], classes))
        for one in kept
    ]


def _check_box(where: str, one: Annotation, image: ImageEntry) -> None:
    x, y, width, height = one.bbox
    low, right, bottom = -ROUNDING, image.width + ROUNDING, image.height + ROUNDING
    if not (x >= low and y >= low and x + width <= right and y + height <= bottom):
        allowed = f"must be within image {image.id} of {image.width}×{image.height} pixels"
        raise ConfigError(f"{where}.bbox", list(one.bbox), allowed)


def _shorter_side(one: Annotation, image: ImageEntry) -> float:
    """Return the shorter side of the part of a box that is within its image."""
    x, y, width, height = one.bbox
    across = min(x + width, image.width) - max(x, 0)
    return min(across, min(y + height, image.height) - max(y, 0))


def _image_file(file: Path, folder: Path, one: ImageEntry) -> Path:
    place = folder / one.file_name
    if not os.path.isfile(place) or not place.resolve().is_relative_to(folder.resolve()):
        allowed = f"must be an image in {folder}"
        raise ConfigError(f"{file}: file_name of image {one.id}", one.file_name, allowed)
    return place


def _scene(image: ImageEntry, found: Sequence[Annotation], classes: Mapping[int, int]) -> Scene:
    boxes = np.array([one.bbox for one in found], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    most = np.array([image.width, image.height] * 2, np.float32)
    areas = [one.bbox[2] * one.bbox[3] if one.area is None else one.area for one in found]
    return Scene(
        image.id,
        image.height,
        image.width,
        np.clip(boxes, 0, most),
        np.array([classes[one.category_id] for one in found], np.int64),
        np.array([bool(one.iscrowd) for one in found], np.bool_),
        np.array(areas, np.float32),
    )


def _decoded(picture: Picture) -> Pixels:
    file, scene = picture.file, picture.scene
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.size != (scene.width, scene.height):
                raise ValueError(
                    f"it has {image.size[0]}×{image.size[1]} pixels, and its annotation says "
                    f"{scene.width}×{scene.height}"
                )
            if scene.width * scene.height > PIXEL_LIMIT:
                raise ValueError(f"it has more than {PIXEL_LIMIT:,} pixels")
            if image.mode.startswith(("I", "F")):  # Pillow would cut all levels off at 255
                raise ValueError("its levels have more than 8 bits; bring them to 0 to 255 first")
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # on damaged bytes a decoder can raise anything
        reason = printable(" ".join(str(error).split()) or type(error).__name__)
        raise EvaluationError(f"{file} cannot be used: {reason}") from error
