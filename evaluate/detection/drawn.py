"""The demo data of detection: `drawn`, the drawings of `animals` on backgrounds, with their boxes.

Every image follows from its number and the drawings alone, so nothing is stored or downloaded. An
image of 96×128 pixels has one to four animals of several sizes and colours on a coloured texture.
A box is the smallest around the drawing's ink. Drawings of the validation images are others than
those of the training images.
"""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_sv2.evaluate.data.datasets import open_animals
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.detection.scenes import Pixels, Scene, SceneData, Scenes

HEIGHT, WIDTH = 96, 128
TRAIN, VAL = 1_000, 250
MOST_ANIMALS = 4
SIDES = (24, 64)
"""Least and most sides of a drawing in pixels, without its empty border."""
INK = 127
"""Grey levels above it are ink."""
MOST_OVERLAP = 0.2
"""Share of a box that an earlier one may cover."""
VERSION = 1  # part of the key: raise it if the images change

Drawing = NDArray[np.uint8]


def open_drawn() -> SceneData:
    """Make the demo data.

    Raises:
        EvaluationError: The drawings of `animals` are missing.
    """
    return _made(TRAIN, VAL)


@lru_cache(maxsize=2)
def _made(train: int, val: int) -> SceneData:
    animals = open_animals()
    key = hashlib.sha256(f"{animals.key} {VERSION} {train} {val}".encode()).hexdigest()[:16]
    return SceneData(
        "drawn",
        key,
        animals.class_names,
        _part(animals.train, "train", train),
        _part(animals.val, "val", val),
        _notes(animals, train, val),
    )


def _notes(animals: ImageData, train: int, val: int) -> tuple[str, ...]:
    drawings = f"{len(animals.train):,} and {len(animals.val):,} drawings"
    return (f"drawn from the seed: {train:,} train, {val:,} val images of {drawings}",)


def _part(part: Part, name: str, count: int) -> Scenes:
    def drawn(index: int) -> tuple[Scene, Pixels]:
        return _draw(part, f"{name}:{index}", index)

    scenes = [drawn(index)[0] for index in range(count)]
    return Scenes(scenes, lambda index: drawn(index)[1])


def _draw(part: Part, seed: str, number: int) -> tuple[Scene, Pixels]:
    digest = hashlib.sha256(f"{VERSION}:{seed}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    pixels = _background(generator)
    boxes: list[tuple[int, int, int, int]] = []
    classes: list[int] = []
    for _ in range(int(generator.integers(1, MOST_ANIMALS + 1))):
        chosen = int(generator.integers(len(part)))
        drawing = _scaled(part.images[chosen, 0].numpy(), generator)
        height, width = drawing.shape
        top = int(generator.integers(HEIGHT - height + 1))
        left = int(generator.integers(WIDTH - width + 1))
        box = (left, top, left + width, top + height)
        if any(_covered(other, box) > MOST_OVERLAP for other in boxes):
            continue
        colour = generator.integers(0, 256, 3)
        place = pixels[top : top + height, left : left + width]
        place[drawing > INK] = colour
        boxes.append(box)
        classes.append(int(part.labels[chosen]))
    corners = np.array(boxes, np.float32)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    crowds = np.zeros(len(boxes), np.bool_)
    scene = Scene(number, HEIGHT, WIDTH, corners, np.array(classes, np.int64), crowds, areas)
    return scene, pixels


def _background(generator: np.random.Generator) -> Pixels:
    """A texture of soft patches around one colour."""
    patches = generator.integers(0, 256, (4, 5, 3), np.uint8)
    size = (WIDTH, HEIGHT)
    soft = np.asarray(Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = generator.normal(0, 8, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return (128 + 0.4 * (soft - 128) + grain).clip(0, 255).astype(np.uint8)


def _scaled(image: Drawing, generator: np.random.Generator) -> Drawing:
    """A drawing without its border, at a size that is drawn, mirrored or not."""
    image = _within_border(image)
    side = float(generator.uniform(*SIDES)) / max(image.shape)
    size = tuple(max(2, round(length * side)) for length in image.shape[::-1])
    scaled = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    scaled = _within_border(scaled)
    return scaled[:, ::-1] if generator.random() < 0.5 else scaled


def _within_border(image: Drawing) -> Drawing:
    ink = image > INK
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _covered(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """The share of the smaller box that both have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(0, width) * max(0, height) / min(areas)
