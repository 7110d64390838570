import re
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.decoding import Unreadable, decode
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.image_listing import with_fit
from nas_sv2.resolution import Resolution

Folder = Callable[..., Path]
MODES = [(mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
MODES += [(mode, "tif") for mode in ("CMYK", "YCbCr", "LAB", "PA")]


def opened(path: Path, skip_unreadable: bool = False) -> ImageData:
    return open_data(f"imagefolder:{path}", skip_unreadable=skip_unreadable)


def png_of(width: int, height: int) -> bytes:
    """A few bytes that claim to be a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_a_folder_is_split_by_content(folder: Folder) -> None:
    data = opened(folder())
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), len(data.val), data.test) == (16, 4, None)
    assert (data.channels, data.resolution) == (3, 32)
    assert data.key == opened(folder("copy")).key
    assert any("validation is 4 of 20 training images (20.0%)" in note for note in data.notes)


def test_the_size_of_the_pictures_is_kept(folder: Folder) -> None:
    """The larger of the shorter sides; the training may reduce the pictures, or enlarge them."""
    root = folder()
    Image.new("RGB", (90, 70), "red").save(root / "cat" / "large.png")
    Image.new("RGB", (300, 20), "red").save(root / "cat" / "long.png")
    data = opened(root)
    assert (data.resolution, data.picture_side) == (32, 70)
    assert opened(root).picture_side == 70  # from the cache


def test_a_file_that_the_system_refuses_is_named_with_its_words_alone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder() / "cat" / "1.png"

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(Unreadable, match=r"^Permission denied$"):
        decode(file, 32)


@pytest.mark.parametrize(
    ("resolution", "is_enlarged"), [(19, False), (20, False), (21, True), ((20, 64), False)]
)
def test_pictures_that_are_all_enlarged_are_named(
    resolution: Resolution, is_enlarged: bool, tmp_path: Path
) -> None:
    for number in range(10):
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = np.random.default_rng(number + 10 * (name == "cat")).integers(
                0, 256, (20, 24 + number), np.uint8
            )
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    notes = open_data(f"imagefolder:{tmp_path}", resolution=resolution).notes
    said = "every picture is enlarged: no shorter side has more than 20 pixels"
    assert (said in notes) == is_enlarged


def test_copies_under_other_names_stay_on_one_side(folder: Folder) -> None:
    root = folder()
    for file in list((root / "cat").iterdir()):
        Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
            root / "dog" / f"mirror {file.name}"
        )
    data = opened(root)
    plain, mirrored = (
        {image.numpy().tobytes() for image in images}
        for images in (data.train.images, data.val.images.flip(3))
    )
    assert not plain & mirrored
    assert not plain & {image.numpy().tobytes() for image in data.val.images}


def test_given_parts_are_kept_but_for_copies_of_what_is_compared_on(folder: Folder) -> None:
    for part, count in (("train", 10), ("val", 3), ("test", 2)):
        folder(f"pets/{part}", count=count)
    file = folder("pets/val", classes=("cow",)) / "cat" / "2.png"
    shutil.rmtree(file.parents[1] / "cow")
    Image.new("RGB", (6, 6), "red").save(file)  # of val, 0 and 1 are in test as well
    data = opened(folder("pets/train/..", classes=()))
    assert data.test is not None
    assert [len(part) for part in data.parts] == [15, 2, 4]
    assert any(note.startswith("left out: 9 images") for note in data.notes)


def test_imagenet_keeps_its_val_untouched_unless_it_has_a_labelled_test(tmp_path: Path) -> None:
    root = tmp_path / "net"
    for level, part in enumerate(("train", "val", "test")):
        for label in ("n01", "n02"):
            (root / part / label).mkdir(parents=True)
            for number in range(10):
                color = (level * 80, number * 20, 5 if label == "n01" else 90)
                Image.new("RGB", (6, 6), color).save(root / part / label / f"{number}.JPEG", "png")
    whole = open_data(f"imagenet:{root}")
    assert [len(part) for part in whole.parts] == [20, 20, 20]
    for label in ("n01", "n02"):  # as the test set is distributed: flat and without labels
        for image in (root / "test" / label).iterdir():
            image.rename(root / "test" / f"{label} {image.name}")
        (root / "test" / label).rmdir()
    usual = open_data(f"imagenet:{root}")
    assert usual.test is not None
    assert [len(part) for part in usual.parts] == [18, 2, 20]
    assert {int(image[0, 0, 0]) for image in usual.test.images} == {80}, "val, untouched"
    assert {int(image[0, 0, 0]) for image in usual.val.images} == {0}, "carved from train"


def test_validation_is_carved_where_only_train_is_given(folder: Folder) -> None:
    data = opened(folder("pets/train").parent)
    assert (len(data.train), len(data.val)) == (16, 4)


def test_resolution_is_asked_for(folder: Folder) -> None:
    assert open_data(f"imagefolder:{folder()}", resolution=20).resolution == 20


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_images_are_brought_to_height_and_width(fit: str, folder: Folder) -> None:
    spec = with_fit(f"imagefolder:{folder()}", fit)
    data = open_data(spec, resolution=(12, 20))
    assert data.resolution == (12, 20)
    assert data.val.images.shape[1:] == (3, 12, 20)
    done = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}[fit]
    assert data.notes[-1].endswith(f"{done} to 12×20")
    assert data.key != open_data(spec, resolution=(20, 12)).key
    again = open_data(spec, resolution=(12, 20))  # from the cache
    assert (again.key, again.resolution) == (data.key, (12, 20))


@pytest.mark.parametrize(
    ("size", "orientation", "resolution", "dropped"),
    [
        ((60, 30), 1, 12, "50%"),
        ((60, 30), 1, (12, 24), None),  # of the same shape
        ((60, 30), 1, (24, 12), "75%"),
        ((60, 30), 6, (24, 12), None),  # turned upright, it is 30×60
        ((60, 30), 6, (12, 24), "75%"),
        ((30, 30), 1, (12, 24), "50%"),
        ((36, 30), 1, (10, 20), "40%"),
        ((30, 30), 1, (12, 16), None),  # a quarter only
    ],
)
def test_a_note_says_how_much_the_crop_drops(
    size: tuple[int, int],
    orientation: int,
    resolution: Resolution,
    dropped: str | None,
    tmp_path: Path,
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(6):
            level = 20 * number + 10 * (label == "cat")
            Image.new("L", size, level).save(tmp_path / label / f"{number}.png", exif=exif)
    spec = f"imagefolder:{tmp_path}"
    notes = open_data(spec, resolution=resolution).notes
    said = (
        f"half of the pictures the centre crop drops {dropped} or more; fit pad or stretch keeps"
    )
    assert any(said in note for note in notes) == (dropped is not None)
    assert any("crop drops" in note for note in notes) == (dropped is not None)
    padded = open_data(with_fit(spec, "pad"), resolution=resolution)
    assert "crop drops" not in str(padded.notes)


@pytest.mark.parametrize(("mode", "suffix"), MODES)
def test_every_mode_is_read(mode: str, suffix: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (255, 255, 255))
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 0xFFFF, np.uint16))
    elif mode == "LAB":
        image = Image.new("LAB", (8, 8), (255, 128, 128))
    else:
        image = image.convert(mode)
    image.save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as stored:
        assert stored.mode == mode
    pixels = decode(tmp_path / f"a.{suffix}", 4).pixels
    assert pixels.shape == (1 if mode in ("1", "L", "LA", "I;16") else 3, 4, 4)
    assert pixels.min() > 250


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_laid_on_white(mode: str, tmp_path: Path) -> None:
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.info["transparency"] = 0
    else:
        image = Image.new(mode, (4, 4), (0,) * len(mode))
    image.save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 4).pixels == 255).all()


def test_a_palette_with_graded_transparency_warns_nobody(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(tmp_path / "a.png", 4)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_one_pixel_is_enough(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 8).pixels == np.array([9, 8, 7])[:, None, None]).all()


def test_the_centre_is_cut_out(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 10).pixels == 255).all()


def fault(kind: str, file: Path) -> None:
    whole = file.read_bytes()
    match kind:
        case "text":
            file.write_text("no image")
        case "empty":
            file.write_bytes(b"")
        case "truncated":
            file.write_bytes(whole[: len(whole) // 2])
        case "bomb warned of":
            file.write_bytes(png_of(10_000, 10_000))
        case "bomb":
            file.write_bytes(png_of(100_000, 100_000))
        case "dangling link":
            file.unlink()
            file.symlink_to("nowhere")
        case "heic":
            file.write_bytes(b"\0\0\0\x18ftypheic" + whole)
        case "float":
            Image.fromarray(-np.ones((4, 4), np.float32)).save(file, format="tiff")


FAULTS = ("text", "empty", "truncated", "bomb warned of", "bomb", "dangling link", "float", "heic")


@pytest.mark.parametrize("kind", FAULTS)
def test_an_unreadable_image_is_named_counted_and_skipped_on_request(
    kind: str, folder: Folder
) -> None:
    root = folder()
    fault(kind, root / "dog" / "3.png")
    with pytest.raises(
        ConfigError, match=r"1 of 20 .* cannot be read: 'dog/3.png' \(.+\)"
    ) as told:
        opened(root)
    assert "skip_unreadable" in str(told.value)
    assert "\n" not in str(told.value)
    assert str(root / "dog") not in str(told.value).removesuffix(f"; got 'imagefolder:{root}'")
    data = opened(root, skip_unreadable=True)
    assert len(data.train) + len(data.val) == 19
    assert re.match(r"skipped: 1 of 20 images cannot be read: 'dog/3.png'", data.notes[0])


def test_many_faults_are_counted_and_some_named(folder: Folder) -> None:
    root = folder()
    for number in range(8):
        fault("text", root / "cat" / f"{number}.png")
    with pytest.raises(ConfigError, match=r"8 of 20 images .* and 3 more"):
        opened(root)


def test_a_class_without_a_readable_image_is_refused(folder: Folder) -> None:
    root = folder()
    for file in (root / "cat").iterdir():
        fault("text", file)
    with pytest.raises(ConfigError, match="'cat' has none"):
        opened(root, skip_unreadable=True)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_read_or_refused_but_never_crash(
    data: st.DataObject, tmp_path: Path
) -> None:
    suffix = data.draw(st.sampled_from(["png", "jpg", "gif", "bmp", "tif", "webp"]))
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (6, 5), (9, 8, 7)).save(file)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        pixels = decode(file, 4).pixels
    except Unreadable:
        return
    assert pixels.shape[1:] == (4, 4)
    assert pixels.dtype == np.uint8


def test_other_files_are_no_images(folder: Folder) -> None:
    root = folder()
    (root / "cat" / "notes.txt").write_text("seen at dawn")
    (root / "cat" / ".hidden.png").write_text("")
    (root / ".git").mkdir()
    assert len(opened(root).train) == 16


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "a folder that exists"),
        ("file", "a folder that exists"),
        ("nameless", "a folder or a file after the colon"),
        ("empty", "no class folders"),
        ("one class", "two classes or more; it has 1"),
        ("no images", "must have images; the folders of classes, 'cat', 'dog', have none"),
        ("strange class", "only classes of train in val; 'fish' is not one"),
        ("no validation", "must have val images; it has none; each class has one image only"),
        (
            "copies",
            r"must have val images; it has none; each class has one .* \(copies and mirror",
        ),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(
    kind: str, message: str, folder: Folder, tmp_path: Path
) -> None:
    root = tmp_path / "pets"
    match kind:
        case "file":
            root.write_text("")
        case "empty":
            root.mkdir()
        case "one class":
            folder(classes=("cat",))
        case "no images":
            folder(count=0)
        case "strange class":
            folder("pets/train")
            folder("pets/val", classes=("cat", "fish"))
        case "no validation":
            folder(count=1)
        case "copies":
            folder(count=1)
            for image in list(root.rglob("*.png")):
                shutil.copy(image, image.with_name("copy.png"))
    with pytest.raises(ConfigError, match=message) as told:
        open_data("imagefolder:" if kind == "nameless" else f"imagefolder:{root}")
    assert str(told.value).startswith("data must ")
    assert "\n" not in str(told.value)


def test_grey_and_colour_together_are_colour(folder: Folder) -> None:
    root = folder()
    shutil.rmtree(root / "cat")
    (root / "cat").mkdir()
    for number in range(5):
        Image.new("L", (6, 6), number).save(root / "cat" / f"{number}.png")
    assert opened(root).channels == 3
