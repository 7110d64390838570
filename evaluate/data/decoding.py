"""Decodes an image file of any mode to pixels, or refuses it with a reason."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (
    ExifTags,
    Image,
    TiffImagePlugin,  # noqa: F401, its format
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401, its format
)

from nas_sv2.evaluate.data.file_kinds import IMAGE, RAW_IMAGE, is_raw, kind_of
from nas_sv2.resolution import Resolution, height_and_width

with suppress(ImportError):  # since Pillow 11.3
    from PIL import AvifImagePlugin  # noqa: F401, its format

FITS = ("crop", "pad", "stretch")
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F")
# A transparent picture of this many pixels takes 1.2 GB to decode. Pillow's own limits are 89
# million (a warning) and 179 million, and apply to the whole process.
PIXEL_LIMIT = 100_000_000
# By content, not by suffix. Other decoders of Pillow start programs (EPS).
Image.preinit()
FORMATS = tuple(
    name
    for name in ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "AVIF")
    if name in Image.OPEN
)
DECODING = 4  # part of a cache's key: raise it if a file decodes to other pixels than before
MOST_LEVEL = 2.0**32  # white of levels from there on is unknown
DIM = 0.25  # of a range; below it 8 bits have fewer than 64 steps for all levels
CLEAR_WHITE = (
    "must have levels in floating point that reach 0.25 to 1, 128 to 255, or the upper half of "
    "10, 12, 14, 16 or more bits (divide them by the level of white, and clip them to 0 to 1)"
)
PADDING = 128  # grey level beside a picture that is padded: the middle, which favours no class
FULL_BITS = (8, 10, 12, 14, 16, *range(17, 33))  # of cameras and scanners, then of sums

# Table 4 of the EXIF standard (CIPA DC-008): how a stored picture becomes upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """A file that is not an image, is cut off, or is too large to be decoded safely."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pixels of a file, and facts that matter for the whole data set.

    Attributes:
        pixels: Grey levels, uint8 (C, H, W); C is 1 for grey modes and 3 for all others.
        mode: Pillow's name of the file's mode; `;16` is appended for colour of 16 bits.
        aspect: How many times as long or as wide it is as the shape of the pixels; of a square,
            longer side over shorter side.
        shorter_side: Shorter side of the picture in its file, pixels.
        levels: For levels of more than 8 bits, their kind (`integer`, `float` or `colour`) and
            the highest of them; else None.
    """

    pixels: NDArray[np.uint8]
    mode: str
    aspect: float
    shorter_side: int
    levels: tuple[str, float] | None = None


def full_level(kind: str, highest: float) -> float:
    """Return the level that counts as white, given the `highest` level of a whole data set.

    A camera of 12 bits stores its levels in 16, so white is the end of the narrowest usual range
    that holds them all. Levels in floating point up to 1 end at 1, and those up to 255 at 255.
    `is_clear_white` says whether that is safe to take for levels in floating point.
    """
    if kind == "float" and highest <= 1:
        return 1.0
    return next(float(white) for bits in FULL_BITS if highest <= (white := 2**bits - 1))


def is_clear_white(highest: float) -> bool:
    """Whether the `highest` level in floating point of a whole data set tells which is white.

    A resampling brings levels of 0 to 1 slightly above 1. Read as 0 to 255 they would all be
    black, and so would levels of 0 to 1 that were divided by 255 once more.
    """
    return highest >= full_level("float", highest) * (DIM if highest <= 1 else 0.5)


def decode(
    file: Path,
    resolution: Resolution,
    fit: str = "crop",
    white: Mapping[str, float] | None = None,
) -> Decoded:
    """Decode a file to pixels.

    The picture is turned upright as its EXIF orientation says. `crop` takes the largest centre of
    the resolution's shape and resizes it (antialiased bilinear), as is usual for ImageNet. `pad`
    resizes the whole picture into the resolution and fills the rest with grey, and `stretch`
    brings both sides to it. Transparent pixels become white, and an animation gives its first
    picture.

    Args:
        file: The file.
        resolution: Side of the pixels, or their height and width.
        fit: One of `FITS`.
        white: Level that becomes 255, by kind of levels; the end of the file's own range if it is
            left out.

    Raises:
        Unreadable: If the file cannot be decoded or has more than `PIXEL_LIMIT` pixels.
    """
    try:
        if not file.is_file():  # reading a pipe could wait for ever
            raise FileNotFoundError("no regular file, or a link to none")
        if is_raw(file):  # Pillow would read the thumbnail of many
            raise ValueError(f"{RAW_IMAGE}, {_NOT_READ}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about metadata and large images
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > PIXEL_LIMIT:
                    raise ValueError(f"{width}×{height}, {_OVER}")
                return _decoded(image, height_and_width(resolution), fit, white or {})
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above ours
        raise Unreadable(_OVER) from error
    except Exception as error:  # on damaged bytes a decoder can raise anything
        raise Unreadable(_reason(file, error)) from error


_NOT_READ = "which is not read"
_OVER = f"more than the {PIXEL_LIMIT / 1e6:.0f} million pixels that are decoded safely"


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError) and (kind := kind_of(file)) != IMAGE:
        return f"{kind}, {_NOT_READ}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    reason = " ".join(str(error).split()) or type(error).__name__
    return reason.replace(str(file), "the file")


def _decoded(
    image: Image.Image, size: tuple[int, int], fit: str, white: Mapping[str, float]
) -> Decoded:
    mode, width, height = image.mode, *image.size
    # Levels of 16 bits in colour: Pillow reads the upper byte alone.
    is_deep_colour = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    is_deep_colour &= not mode.startswith("I")
    # A JPEG is decoded at a half, quarter or eighth of its size if that is still twice `size`.
    image.draft(image.mode, (2 * max(size), 2 * max(size)))
    grey, plain, levels = mode in GREY_MODES, image, None
    if mode.startswith(("I", "F")):
        plain, levels = _eight_bits(image, white)
    elif is_deep_colour:
        mode, levels = f"{mode};16", ("colour", 257.0 * float(np.asarray(image).max()))
    upright = _upright(plain, image)
    shorter, longer = sorted((width, height))
    sides = (shorter, longer) if upright.height > upright.width else (longer, shorter)
    across, down = sides[0] * size[0], sides[1] * size[1]
    aspect = max(across, down) / min(across, down)
    return Decoded(_fitted(upright, size, fit, grey), mode, aspect, shorter, levels)


def _eight_bits(
    image: Image.Image, white: Mapping[str, float]
) -> tuple[Image.Image, tuple[str, float]]:
    """Bring levels of a grey image to 0 to 255, in floating point, so that none is lost yet."""
    levels = np.asarray(image)
    kind = "float" if image.mode == "F" else "integer"
    low, high = float(levels.min()), float(levels.max())
    if not (np.isfinite(levels).all() and low >= 0 and high < MOST_LEVEL):
        raise ValueError(f"grey levels from {low:g} to {high:g}, of which white is unknown")
    full = white.get(kind, full_level(kind, high))
    return Image.fromarray((levels * (255 / full)).astype(np.float32)), (kind, high)


def _upright(plain: Image.Image, image: Image.Image) -> Image.Image:
    """Turn `plain` as the metadata of `image`, its source, say; damaged ones say nothing."""
    plain.load()  # Pillow itself turns some formats, and then forgets the orientation
    try:
        way = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # viewers show such a picture as it is stored
        return plain
    return plain.transpose(UPRIGHT[way]) if way in UPRIGHT else plain


def _fitted(image: Image.Image, size: tuple[int, int], fit: str, grey: bool) -> NDArray[np.uint8]:
    """Return the pixels (C, H, W) of a picture that is upright."""
    if image.mode != "F":
        transparent = image.has_transparency_data
        image = image.convert("RGBA" if transparent else "L" if grey else "RGB")
    shaped = _shaped(image, *size, fit)
    if shaped.mode == "RGBA":  # after the resize, which weights pixels by alpha
        ground = Image.new("RGBA", shaped.size, "white")
        ground.alpha_composite(shaped)
        shaped = ground.convert("L" if grey else "RGB")
    pixels = np.asarray(shaped)
    if shaped.mode == "F":
        pixels = pixels.round().clip(0, 255).astype(np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _shaped(image: Image.Image, height: int, width: int, fit: str) -> Image.Image:
    way, (across, down) = Image.Resampling.BILINEAR, image.size
    is_wider = across * height > down * width  # than the shape that is wanted
    if fit == "crop":
        inner = (down * width / height, down) if is_wider else (across, across * height / width)
        left, top = (across - inner[0]) / 2, (down - inner[1]) / 2
        return image.resize((width, height), way, box=(left, top, left + inner[0], top + inner[1]))
    if fit == "stretch" or across * height == down * width:
        return image.resize((width, height), way)
    if is_wider:
        inside = width, max(1, round(down * width / across))
    else:
        inside = max(1, round(across * height / down)), height
    levels = (PADDING, PADDING, PADDING, 255)[: len(image.getbands())]
    ground = Image.new(image.mode, (width, height), levels if levels[1:] else PADDING)
    ground.paste(image.resize(inside, way), ((width - inside[0]) // 2, (height - inside[1]) // 2))
    return ground
