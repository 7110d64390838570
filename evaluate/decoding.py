"""One image file to pixels, whatever its mode; what cannot be decoded is refused with a reason."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")


class Unreadable(Exception):
    """A file is no image, is cut off, or is too large to be decoded safely."""


def decode(file: Path, side: int) -> NDArray[np.uint8]:
    """The pixels (C, side, side); C is 1 for grey modes and 3 for all others.

    The shorter side is brought to `side` (antialiased bilinear) and the centre cut out, as is
    usual for ImageNet. Transparency is laid on white; 16-bit grey keeps its upper byte; of an
    animation the first picture counts.

    Raises:
        Unreadable: The file cannot be decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's remarks on metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return _pixels(_plain(image), side)
    except Exception as error:  # on damaged bytes a decoder can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(reason.replace(str(file), "the file")) from error


def _plain(image: Image.Image) -> Image.Image:
    """In mode L or RGB."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError("grey levels outside 16 bits")
        return Image.fromarray((levels >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point grey levels, whose range is unknown")
    if image.has_transparency_data:
        grey = image.mode in GREY_MODES
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        white.alpha_composite(layer)
        return white.convert("L" if grey else "RGB")
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def _pixels(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The centre square of the largest extent, (C, side, side)."""
    extent = min(image.size)
    left, top = ((length - extent) / 2 for length in image.size)
    box = (left, top, left + extent, top + extent)
    square = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(square)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
