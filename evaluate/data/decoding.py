"""Decodes an image file of any mode to pixels, or refuses it with a reason."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401, their formats

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")
# A transparent picture of this many pixels takes 1.2 GB to decode. Pillow's own limits are 89
# million (a warning) and 179 million, and apply to the whole process.
PIXEL_LIMIT = 100_000_000
# By content, not by suffix. Other decoders of Pillow start programs (EPS).
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
DECODING = 1  # part of a cache's key: raise it if a file decodes to other pixels than before


class Unreadable(Exception):
    """A file that is not an image, is cut off, or is too large to be decoded safely."""


def decode(file: Path, side: int) -> NDArray[np.uint8]:
    """Decode a file to pixels (C, side, side), as `decode_with_mode` does.

    Raises:
        Unreadable: If the file cannot be decoded or has more than `PIXEL_LIMIT` pixels.
    """
    return decode_with_mode(file, side)[0]


def decode_with_mode(file: Path, side: int) -> tuple[NDArray[np.uint8], str]:
    """Decode a file to pixels (C, side, side), and return Pillow's name of its mode as well.

    C is 1 for grey modes and 3 for all others. The shorter side is resized to `side` (antialiased
    bilinear) and the centre is cropped, as is usual for ImageNet. Transparent pixels become white,
    16-bit grey keeps its upper byte, and an animation gives its first picture.

    Raises:
        Unreadable: If the file cannot be decoded or has more than `PIXEL_LIMIT` pixels.
    """
    try:
        if not file.is_file():  # reading a pipe could wait for ever
            raise FileNotFoundError("no regular file, or a link to none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about metadata and large images
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > PIXEL_LIMIT:
                    raise ValueError(f"{width}×{height}, {_OVER}")
                mode = image.mode
                return _pixels(image, side), mode
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above ours
        raise Unreadable(_OVER) from error
    except Exception as error:  # on damaged bytes a decoder can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(reason.replace(str(file), "the file")) from error


_OVER = f"more than the {PIXEL_LIMIT / 1e6:.0f} million pixels that are decoded safely"


def _pixels(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return the largest centre square, resized to (C, side, side)."""
    # A JPEG is decoded at a half, quarter or eighth of its size if that is still twice `side`.
    image.draft(image.mode, (2 * side, 2 * side))
    grey = image.mode in GREY_MODES
    plain = _plain(image)
    extent = min(plain.size)
    left, top = ((length - extent) / 2 for length in plain.size)
    box = (left, top, left + extent, top + extent)
    square = plain.resize((side, side), Image.Resampling.BILINEAR, box=box)
    if square.mode == "RGBA":  # after the resize, which weights pixels by alpha
        white = Image.new("RGBA", square.size, "white")
        white.alpha_composite(square)
        square = white.convert("L" if grey else "RGB")
    pixels = np.asarray(square)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _plain(image: Image.Image) -> Image.Image:
    """Convert to mode L or RGB, or to RGBA if a pixel is transparent."""
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError("grey levels outside 16 bits")
        return Image.fromarray((levels >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point grey levels, whose range is unknown")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in GREY_MODES else "RGB")
