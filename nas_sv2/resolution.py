"""The size of an input: the side of a square, or height and width.

A square has one number only, so that equal inputs are equal values, in files and in digests.
"""

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from nas_sv2.documents import MOST_SIDE, Side, check_value
from nas_sv2.errors import ConfigError

SHAPES = f"the side of a square image or its [height, width], each from 1 to {MOST_SIDE}"
# msgspec 0.22 crashes on a union of a number with limits and a tuple of fixed length.
Pair: TypeAlias = Annotated[tuple[Side, ...], Meta(min_length=2, max_length=2)]
Resolution: TypeAlias = Annotated[Side | Pair, Meta(description=SHAPES)]

MOST_IMAGE_SIDE = 1024
"""Largest side of images, in pixels: a network runs on many at once, and each takes 12 MiB."""


def resolution_of(height: int, width: int) -> Resolution:
    """Return the resolution of an image of `height` × `width` pixels."""
    return height if height == width else (height, width)


def read_resolution(field: str, value: Any) -> Resolution:
    """Return the resolution in plain data; height and width may be equal.

    Raises:
        ConfigError: It is something else.
    """
    given = tuple(value) if isinstance(value, list) else value
    check_value(field, given, Resolution)
    return resolution_of(*height_and_width(given))


def check_image_size(field: str, resolution: Resolution) -> None:
    """Refuse a size that images cannot be brought to.

    Raises:
        ConfigError: A side is not a whole number from 1 to `MOST_IMAGE_SIDE`.
    """
    check_value(field, resolution, Resolution)
    if max(height_and_width(resolution)) > MOST_IMAGE_SIDE:
        allowed = f"must be at most {MOST_IMAGE_SIDE} pixels a side: images must fit into memory"
        raise ConfigError(field, resolution, allowed)


def height_and_width(resolution: Resolution) -> tuple[int, int]:
    """Return height and width in pixels."""
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    return height, width


def in_pixels(resolution: Resolution, between: str = "×") -> str:
    """Name a resolution, height first: `96×128`."""
    return between.join(map(str, height_and_width(resolution)))
