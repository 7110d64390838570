"""One image file to pixels, whatever its mode; what cannot be decoded is refused with a reason."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401, their formats

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")
# A transparent picture of so many pixels is decoded in 1.2 GB. Pillow's own limits are 89 (a
# warning) and 179 million, and are the whole process's.
PIXEL_LIMIT = 100_000_000
# By content, whatever a file is called: other decoders of Pillow start programs (EPS).
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
DECODING = 1  # raise it when the same file gives other pixels than before: caches are keyed by it


class Unreadable(Exception):
    """A file is no image, is cut off, or is too large to be decoded safely."""


def decode(file: Path, side: int) -> NDArray[np.uint8]:
    """The pixels (C, side, side); raises as `decode_with_mode` does."""
    return decode_with_mode(file, side)[0]


def decode_with_mode(file: Path, side: int) -> tuple[NDArray[np.uint8], str]:
    """The pixels (C, side, side), and Pillow's name for the mode that they are stored in.

    C is 1 for grey modes and 3 for all others. The shorter side is brought to `side` (antialiased
    bilinear) and the centre cut out, as is usual for ImageNet. Transparency is laid on white;
    16-bit grey keeps its upper byte; of an animation the first picture counts.

    Raises:
        Unreadable: The file cannot be decoded, or has more than `PIXEL_LIMIT` pixels.
    """
    try:
        if not file.is_file():  # a pipe would be waited on for ever
            raise FileNotFoundError("no regular file, or a link to none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's remarks on metadata and large images
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
    """The centre square of the largest extent, (C, side, side)."""
    # A JPEG is decoded at a half, quarter or eighth where that is still twice what is asked.
    image.draft(image.mode, (2 * side, 2 * side))
    grey = image.mode in GREY_MODES
    plain = _plain(image)
    extent = min(plain.size)
    left, top = ((length - extent) / 2 for length in plain.size)
    box = (left, top, left + extent, top + extent)
    square = plain.resize((side, side), Image.Resampling.BILINEAR, box=box)
    if square.mode == "RGBA":  # after the resize, which weights by alpha: a large one stays one
        white = Image.new("RGBA", square.size, "white")
        white.alpha_composite(square)
        square = white.convert("L" if grey else "RGB")
    pixels = np.asarray(square)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _plain(image: Image.Image) -> Image.Image:
    """In mode L or RGB, or RGBA where anything is transparent."""
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
