"""Pictures as viewers show them: turned upright, with all their grey levels, and all of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.decoding import UPRIGHT, Unreadable, decode, full_level, is_clear_white
from nas_sv2.evaluate.data.image_data import ImageData

Folder = Callable[..., Path]
CORNERS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]], np.uint8)
ORIENTATION = 274
FORMATS = ["jpeg", "mpo", "png", "tiff", "webp", *(["avif"] if features.check("avif") else [])]


def opened(path: Path) -> ImageData:
    return open_data(f"imagefolder:{path}")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_is_turned_upright(format: str, orientation: int, tmp_path: Path) -> None:
    """A JPEG of this size is decoded at a quarter of it."""
    upright = Image.fromarray(CORNERS.repeat(64, 0).repeat(64, 1))
    ways = [upright, *map(upright.transpose, Image.Transpose)]
    stored = next(
        way
        for way in ways
        if (way.transpose(UPRIGHT[orientation]) if orientation > 1 else way) == upright
    )
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if format == "webp" else {"quality": 100}
    stored.save(tmp_path / "a", format, exif=exif, **options)
    pixels = decode(tmp_path / "a", 16).pixels[:, ::15, ::15].astype(int)
    assert np.abs(pixels - CORNERS.transpose(2, 0, 1)).max() < 8


def test_a_deep_grey_picture_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    levels = np.array([[0, 0], [4095, 4095]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    assert decode(tmp_path / "a.png", 2).pixels[0].tolist() == [[255, 0], [255, 0]]


def test_damaged_metadata_turn_nothing(tmp_path: Path) -> None:
    image = Image.fromarray(CORNERS)
    image.save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff")
    assert (decode(tmp_path / "a.png", 2).pixels == CORNERS.transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    ("kind", "highest", "white"),
    [
        *(("integer", level, level) for level in (255, 1023, 4095, 16383, 65535)),
        *(("integer", level, 4095) for level in (1024, 3012)),
        *(("integer", level, white) for level, white in ((1, 255), (40000, 65535))),
        *(("integer", level, 2**17 - 1) for level in (70000, 2**17 - 1)),
        ("integer", 2**31, 2**32 - 1),
        *(("float", level, white) for level, white in ((0.4, 1), (1, 1), (200, 255), (900, 1023))),
    ],
)
def test_white_is_the_end_of_the_narrowest_range(kind: str, highest: float, white: float) -> None:
    assert full_level(kind, highest) == white


@pytest.mark.parametrize("highest", [0.25, 1, 128, 255, 512, 1023, 3012, 65535, 70000, 2.0**31])
def test_the_highest_level_of_a_usual_range_tells_which_is_white(highest: float) -> None:
    assert is_clear_white(highest)


@pytest.mark.parametrize("highest", [0, 1 / 255, 0.2, 1.002, 1.3, 16, 100, 255.4, 300, 1100, 5000])
def test_a_highest_level_beside_the_usual_ranges_tells_no_white(highest: float) -> None:
    assert not is_clear_white(highest)


def levels_of(bits: int, number: int) -> NDArray[np.uint16]:
    levels = np.random.default_rng(number).integers(0, 2**bits, (6, 6)).astype(np.uint16)
    levels[0, 0] = 2**bits - 1
    return levels


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_levels_are_scaled_by_the_range_of_the_whole_set(
    bits: int, suffix: str, tmp_path: Path
) -> None:
    """One image has the full range; the dim others must not become as bright as it."""
    for part in ("train", "val"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for number in range(2):
                levels = levels_of(bits, number + 2 * label + 4 * (part == "val"))
                if (part, label, number) != ("val", 1, 1):
                    levels //= 4
                Image.fromarray(levels).save(tmp_path / "set" / part / name / f"{number}.{suffix}")
    data = open_data(f"imagefolder:{tmp_path / 'set'}", resolution=6)
    bright = levels_of(bits, 7) * (255 / (2**bits - 1))
    dim = (levels_of(bits, 0) // 4) * (255 / (2**bits - 1))
    assert data.channels == 1
    assert np.abs(data.val.images[3, 0].numpy() - bright).max() <= 0.51
    assert np.abs(data.train.images[0, 0].numpy() - dim).max() <= 0.51
    said = f"grey levels reach {2**bits - 1} in all images, and 0 to {2**bits - 1} became 0 to 255"
    assert said in data.notes


def test_levels_in_floating_point(folder: Folder) -> None:
    root = folder()
    for number, file in enumerate(sorted(root.glob("*/*"))):
        Image.fromarray(np.full((4, 4), number / 40, np.float32)).save(file, "tiff")
    data = opened(root)
    assert set(data.train.images[:, 0, 0, 0].tolist()) <= {round(255 * n / 40) for n in range(20)}
    assert any("floating point reach 0.475" in note for note in data.notes)


@pytest.mark.parametrize("highest", [1.002, 1 / 255, 260])
def test_levels_in_floating_point_of_unclear_white_are_refused(
    highest: float, folder: Folder
) -> None:
    root = folder()
    for number, file in enumerate(sorted(root.glob("*/*"))):
        levels = np.full((4, 4), highest * (number + 1) / 20, np.float32)
        Image.fromarray(levels).save(file, "tiff")
    with pytest.raises(ConfigError, match=rf"that reach 0\.25 to 1, .*; they reach {highest:g};"):
        opened(root)


@pytest.mark.parametrize("level", [-1.0, float("nan"), float("inf"), 1e30])
def test_levels_without_a_range_are_unreadable(level: float, tmp_path: Path) -> None:
    Image.fromarray(np.array([[level, 0], [1, 0]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(Unreadable, match="of which white is unknown"):
        decode(tmp_path / "a.tif", 4)


def png_of_deep_colour(level: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""
    import struct
    import zlib

    rows = b"".join(b"\0" + struct.pack(">12H", *([level] * 12)) for _ in range(4))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_colour_of_16_bits_is_read_only_if_its_upper_byte_is_used(folder: Folder) -> None:
    root = folder()
    for number, file in enumerate(sorted(root.glob("*/*"))):
        file.write_bytes(png_of_deep_colour(200 * number))
    with pytest.raises(ConfigError, match=r"brought to 8 bits first.* upper byte"):
        opened(root)
    (root / "cat" / "bright.png").write_bytes(png_of_deep_colour(60_000))
    assert opened(root).channels == 3


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("crop", [[200, 200], [200, 200]]),
        ("pad", [[128, 128, 128, 128], [0, 200, 200, 0], [0, 200, 200, 0], [128, 128, 128, 128]]),
        ("stretch", [[0, 200, 200, 0]] * 4),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16", "CMYK"])
def test_a_wide_picture_becomes_a_square(
    fit: str, expected: list[list[int]], mode: str, tmp_path: Path
) -> None:
    wide = np.array([[0, 200, 200, 0]] * 2, np.uint8)
    image = Image.fromarray(wide.astype(np.uint16) * 256) if mode == "I;16" else None
    colour = Image.fromarray(wide).convert("RGB")
    image = image or (colour.quantize() if mode == "P" else colour.convert(mode))
    image.save(tmp_path / "a", "tiff")
    pixels = decode(tmp_path / "a", len(expected), fit, {"integer": 256 * 255.0}).pixels
    assert (np.abs(pixels.astype(int) - np.array(expected)) <= 1).all()


@pytest.mark.parametrize(
    ("resolution", "fit", "expected"),
    [
        ((2, 4), "crop", [[0, 200, 200, 0]] * 2),
        ((2, 4), "pad", [[0, 200, 200, 0]] * 2),
        ((4, 2), "crop", [[200, 200]] * 4),
        ((4, 2), "pad", [[128, 128], [114, 114], [128, 128], [128, 128]]),
        ((4, 2), "stretch", [[114, 114]] * 4),
        ((2, 8), "pad", [[128, 128, 0, 200, 200, 0, 128, 128]] * 2),
    ],
)
def test_a_picture_becomes_what_is_no_square(
    resolution: tuple[int, int], fit: str, expected: list[list[int]], tmp_path: Path
) -> None:
    """The picture is 2 high and 4 wide."""
    wide = np.array([[0, 200, 200, 0]] * 2, np.uint8)
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", resolution, fit).pixels.tolist() == [expected]


def test_a_thin_picture_keeps_a_row(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 3), "white").save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 8, "pad").pixels == 255).sum() == 3 * 8


@pytest.mark.parametrize("name", ["a.dng", "a.NEF"])
def test_the_thumbnail_of_a_raw_image_is_not_taken_for_it(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (16, 12)).save(tmp_path / name, format="TIFF")
    with pytest.raises(Unreadable, match=r"^a camera's raw image, which is not read$"):
        decode(tmp_path / name, 8)
