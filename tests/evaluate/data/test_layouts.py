"""Layouts of folders: each is read as it is meant, or refused with what was found."""

import os
import re
import socket
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.folder_tree import walk
from nas_sv2.evaluate.data.image_listing import Listing, list_images
from nas_sv2.evaluate.data.layouts import part_of
from nas_sv2.evaluate.data.split import PARTS

PNG = b"\x89PNG\r\n\x1a\n"
TEXT = (".csv", ".json", ".md", ".txt", ".xml", ".yaml")


def expanded(pattern: str) -> list[str]:
    """The paths of a pattern such as `train/{cat,dog}/*3`: three images in each of two folders."""
    if found := re.search(r"\{([^}]*)\}", pattern):
        return [
            path
            for choice in found[1].split(",")
            for path in expanded(pattern[: found.start()] + choice + pattern[found.end() :])
        ]
    stem, star, count = pattern.partition("*")
    return [f"{stem}{number}.png" for number in range(int(count))] if star else [pattern]


def grow(root: Path, patterns: str) -> Path:
    """Make the files of patterns; a path that ends with a slash is an empty folder."""
    root.mkdir(exist_ok=True)
    for path in (path for pattern in patterns.split() for path in expanded(pattern)):
        file = root / path
        (file if path.endswith("/") else file.parent).mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            file.write_bytes(b"words" if path.endswith(TEXT) else PNG + path.encode())
    return root


def listed(root: Path, layout: str = "imagefolder") -> Listing:
    return list_images(f"{layout}:{root}")


def counts(listing: Listing) -> dict[str, int]:
    """Images by part and class."""
    found = Counter(f"{PARTS[f.part]}/{listing.class_names[f.label]}" for f in listing.files)
    return dict(found)


PETS = {"train/cat": 3, "train/dog": 3}
SPLIT = {**PETS, "val/cat": 2, "val/dog": 2}
WHOLE = {**SPLIT, "test/cat": 1, "test/dog": 1}
TWICE = {"train/cat": 6, "train/dog": 6}

READ: list[tuple[str, dict[str, int], str]] = [
    ("{cat,dog}/*3", PETS, ""),
    ("train/{cat,dog}/*3", PETS, ""),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2", SPLIT, ""),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2 test/{cat,dog}/*1", WHOLE, ""),
    ("train/{cat,dog}/*3 test/{cat,dog}/*1", {**PETS, "test/cat": 1, "test/dog": 1}, ""),
    ("train/{cat,dog}/*3 valid/{cat,dog}/*2 test/{cat,dog}/*1", WHOLE, "'valid' is read as"),
    ("training/{cat,dog}/*3 validation/{cat,dog}/*2", SPLIT, "'training' is read as the train"),
    ("Train/{cat,dog}/*3 Val/{cat,dog}/*2 TEST/{cat,dog}/*1", WHOLE, "'TEST' is read as"),
    ("train_set/{cat,dog}/*3 Dev-Set/{cat,dog}/*2", SPLIT, "'Dev-Set' is read as the val"),
    ("train2017/{cat,dog}/*3 val2017/{cat,dog}/*2", SPLIT, "'val2017' is read as"),
    ("TrainData/{cat,dog}/*3 eval_images/{cat,dog}/*2 holdout/{cat,dog}/*1", WHOLE, "holdout"),
    ("pets/{cat,dog}/*3", PETS, "read in its only folder with images, 'pets'"),
    ("a/b/c/{cat,dog}/*3", PETS, "'a/b/c'"),
    ("a/train/{cat,dog}/*3 a/val/{cat,dog}/*2 notes/a.txt", SPLIT, "left out, 1 file: text"),
    ("train/images/{cat,dog}/*3 val/images/{cat,dog}/*2", SPLIT, "'train/images'"),
    ("train/train/{cat,dog}/*3 val/val/{cat,dog}/*2", SPLIT, "'val/val'"),
    ("{cat,dog}/train/*3 {cat,dog}/val/*2", SPLIT, "each class folder holds the parts"),
    ("pets/{cat,dog}/Training/*3 pets/{cat,dog}/Valid/*2", SPLIT, "each class folder holds"),
    ("cat/*1 cat/{old,new}/*1 dog/*3", PETS, "'cat/new', 'cat/old' count for"),
    ("{cat,dog}/images/*3", PETS, "count for the class folder above"),
    ("{cat,dog}/{001,002}/*3", TWICE, "'cat/001', 'cat/002', 'dog/001' and 1 more count for the"),
    ("{cat,dog}/{part_1,part_2}/*3", TWICE, "count for the class folder above"),
    ("{cat,dog}/2024-05-0{3,4}/*3", TWICE, "count for the class folder above"),
    ("train/{cat,dog}/{1,2}/*3 val/{cat,dog}/1/*2", {**SPLIT, **TWICE}, "'train/cat/1', "),
    ("train/{cat,dog}/*3 val/cat/*2", {**PETS, "val/cat": 2}, ""),
    ("train/{cat,dog}/*3 val/cat/*2 val/{dog,fish}/", {**PETS, "val/cat": 2}, ""),
    ("{cat,dog}/*3 stray.png", PETS, "1 file: an image beside the folders"),
    ("train/{cat,dog}/*3 train/stray.png val/{cat,dog}/*2", SPLIT, "'train/stray.png'"),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2 test/*9", SPLIT, "9 files: a test image without"),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2 test/", SPLIT, "'test' is empty"),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2 annotations/a.json", SPLIT, "text"),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2 train.txt val.txt", SPLIT, "'train.txt', 'val.txt'"),
    ("train/{bus,train}/*3", {"train/bus": 3, "train/train": 3}, ""),
    ("train/{cat,dog}/*3 test/*9 test.csv", PETS, "9 files: a test image"),
    ("cat/{train,val}/*3 dog/training/*3", {**PETS, "val/cat": 3}, "holds the parts"),
    ("{valve,testbed,devil}/*1", {"train/valve": 1, "train/testbed": 1, "train/devil": 1}, ""),
    ("{Cat,cat}/*3", {"train/Cat": 3, "train/cat": 3}, "'Cat', 'cat' are different classes"),
    ("{cat,dog}/*3 cat/{a.xml,b.xml}", PETS, "2 files: text ('cat/a.xml', 'cat/b.xml')"),
    ("{cat,dog}/*3 cat/@eaDir/a/THUMB_M.jpg", PETS, "hidden, or of the system"),
    ("{cat,dog}/*3 __MACOSX/cat/._1.png", PETS, "hidden, or of the system"),
    ("{cat,dog}/*3 .ipynb_checkpoints/a.png .thumbnails/*4 lost+found/", PETS, "5 files: hidden"),
    ("{cat,dog}/*3 cat/._1.png cat/Thumbs.db Desktop.ini", PETS, "3 files: hidden"),
    ("train/{cat,dog}/*3 __MACOSX/train/cat/*1 val/{cat,dog}/*2", SPLIT, "hidden"),
]

REFUSED = [
    ("", "no class folders"),
    ("cat/*3", "it has 1: 'cat'"),
    ("*9", "9 images and no class folders; labels in a table are read by csv:FILE"),
    ("*9 labels.csv", r"such as csv:\S+labels.csv"),
    ("images/*9 labels.csv", "it has 1: 'images'|no class folders"),
    ("train/*9 val/*3", "'train' has 9 images and no class folders"),
    ("train/{cat,dog}/*3 val/*9", "'val' has 9 images and no class folders"),
    ("train2017/*9 val2017/*3 annotations/a.json", "'train2017' has 9 images"),
    ("train/{cat,dog}/*3 Train/{cat,dog}/*3", "'Train' and 'train' are both a name of the train"),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2 valid/{cat,dog}/*2", "'val' and 'valid' are both"),
    ("val/{cat,dog}/*3", "it has 'val', and no train/"),
    ("val/{cat,dog}/*3 test/{cat,dog}/*3", "'test', 'val', and no train/"),
    ("train/{cat,dog}/*3 extra/*5", "'train' would be a part, but 'extra' beside it"),
    ("{bus,train}/*3", "'train' would be a part, but 'bus' beside it"),
    ("{valid,invalid}/*3", "'valid' would be a part"),
    ("{test1,test2}/*3", "'test1' and 'test2' are both a name of the test"),
    ("train/{cat,dog}/*3 val/", "'val' has no class folders"),
    ("train/{cat,dog}/*3 val/{cat,fish}/*2", "only classes of train in val; 'fish'"),
    ("train/{cat,dog}/*3 val/{Cat,dog}/*2", r"'Cat' is not one \(train has 'cat'\)"),
    ("train/{cat,dog}/*3 val/{cat,dog}/*2 test/{fish,cat}/*2", "in test; 'fish'"),
    ("images/{train,val}/*3 labels/{train,val}/a.txt", "images and no class folders"),
    ("images/*3 labels/a.txt", "'images', 'labels' are no classes"),
    ("train/images/*3 train/labels/a.txt val/images/*3", "are no classes but a layout for detec"),
    ("images/*3 masks/*3", "'images', 'masks' are no classes"),
    ("{cat,dog}/*3 cat/masks/*3", "'cat/masks' in a class folder"),
    ("{fold1,fold2,fold3}/{cat,dog}/*3", "each have 'cat', 'dog'"),
    ("{fold1,fold2}/{01,02}/*3", "'fold1', 'fold2' each have '01', '02'"),
    ("{1,2}/{001,002}/*3", "'1', '2' each have '001', '002'"),
    ("{cat,dog}/{indoor,outdoor}/*3", "'cat', 'dog' each have 'indoor', 'outdoor'"),
    ("{siteA,siteB}/dog/*3 siteA/cat/*3", "'siteA', 'siteB' each have 'dog'"),
    ("{train_old,val_old}/{cat,dog}/*3", "'train_old', 'val_old' look like parts"),
    ("{trainA,valB}/*3", "'trainA', 'valB' look like parts"),
    ("cat/{train,val}/*3 dog/*3", "'cat/train', 'cat/val' in a class folder"),
    ("cat/*2 cat/val/*3 dog/*3", "'cat/val' in a class folder"),
    ("train/{cat,dog}/*3 train/cat/test/*3", "'train/cat/test' in a class folder"),
    ("cat/{val,valid,train}/*3 dog/train/*3", "not the only val part"),
    ("{cat,dog}/*3 train.txt test.txt", "'test.txt' may list a split"),
    ("images/{cat,dog}/*3 meta/{train,test}.txt", "'meta/test.txt' may list a split"),
    ("train/{cat,dog}/*3 splits/val.csv", "'splits/val.csv' may list a split"),
    ("{cat,dog}/*3 lists/{trainlist,test_list}.txt", "'lists/test_list.txt' may list a split"),
    ("bounding_box_{train,test}/*3 query/*3", "'bounding_box_test', 'bounding_box_train' look"),
    ("seg_{train,test}/{sea,ice}/*3 seg_pred/*3", "'seg_test', 'seg_train' look like parts"),
    ("JPEGImages/*3 Annotations/a.xml ImageSets/Main/train.txt", "'Annotations', 'JPEGImages'"),
    ("{left,gt}/{train,val}/{bonn,ulm}/*3", "each have 'train', 'val'"),
    ("raw/{color,grey}/{apple,pear}/*3", "'color', 'grey' each have 'apple', 'pear'"),
    ("train/{train,ground_truth}/*3 ground_truth/*3", "'ground_truth' beside it"),
]


@pytest.mark.parametrize(("patterns", "expected", "said"), READ)
def test_a_layout_is_read_as_it_is_meant(
    patterns: str, expected: dict[str, int], said: str, tmp_path: Path
) -> None:
    listing = listed(grow(tmp_path / "set", patterns))
    assert counts(listing) == expected
    assert said in "\n".join(listing.notes)
    assert bool(listing.notes) == bool(said)


@pytest.mark.parametrize(("patterns", "found"), REFUSED)
def test_a_layout_that_is_not_understood_is_refused_with_what_was_found(
    patterns: str, found: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=found) as told:
        listed(grow(tmp_path / "set", patterns))
    assert "\n" not in str(told.value)
    assert str(told.value).startswith("data must ")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(
            (name, "train")
            for name in ("train", "TRAIN", "Training", "trn", "train_set", "train1")
        ),
        *((name, "val") for name in ("val", "Valid", "VALIDATION", "dev", "eval", "val-images")),
        *((name, "test") for name in ("test", "Testing", "tst", "testset", "hold-out", "t e s t")),
        *((name, "") for name in ("cat", "trains", "valley", "contest", "invalid", "", "1", "猫")),
        ("dataset" * 30 + "x", ""),
    ],
)
def test_names_of_parts(name: str, part: str) -> None:
    found = part_of(name)
    assert ("" if found is None else PARTS[found]) == part


def test_imagenet_needs_both_parts(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", "ILSVRC/Data/{train,val}/{n1,n2}/*3 ILSVRC/Data/test/*9")
    assert counts(listed(root, "imagenet")) == {
        **{"train/n1": 3, "train/n2": 3},
        **{"test/n1": 3, "test/n2": 3},
    }
    with pytest.raises(ConfigError, match="'val' has 9 images and no class folders"):
        listed(grow(tmp_path / "flat", "train/{n1,n2}/*3 val/*9"), "imagenet")
    with pytest.raises(ConfigError, match="with train/ and val/"):
        listed(grow(tmp_path / "one", "train/{n1,n2}/*3"), "imagenet")


def test_links_are_followed_once_and_those_that_lead_out_are_said(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", "{cat,dog}/*3")
    away = grow(tmp_path / "away", "more/*4 one.png")
    (root / "cat" / "disk").symlink_to(away / "more")
    (root / "cat" / "one.png").symlink_to(away / "one.png")
    (root / "cat" / "again.png").symlink_to("0.png")
    (root / "dog" / "loop").symlink_to(root)
    (root / "dog" / "up").symlink_to("/")
    (root / "dog" / "self").symlink_to("self")
    (root / "dog" / "copy").symlink_to("../cat")
    listing = listed(root)
    assert counts(listing) == {"train/cat": 8, "train/dog": 3}
    said = "\n".join(listing.notes)
    assert "2 links that lead out of the folder ('cat/disk', 'cat/one.png')" in said
    assert "1 file: the same file under another name ('cat/again.png')" in said
    assert "3 files: a link to a folder that is read already ('dog/copy'" in said
    assert "1 file: a link to nothing ('dog/self')" in said


def test_a_linked_folder_of_a_class_or_part_is_read(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", "train/dog/*3")
    away = grow(tmp_path / "away", "cat/*3 val/{cat,dog}/*2")
    (root / "train" / "cat").symlink_to(away / "cat")
    (root / "val").symlink_to(away / "val")
    assert counts(listed(root)) == SPLIT


def test_a_part_that_links_to_another_is_refused_with_the_reason(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", "train/{cat,dog}/*3 val/")
    for name in ("cat", "dog"):
        (root / "val" / name).symlink_to(root / "train" / name)
    with pytest.raises(
        ConfigError, match=r"'val' has no class folders; 'val/cat', .* read already"
    ):
        listed(root)


def test_chains_of_links_end(tmp_path: Path) -> None:
    """Each folder links twice to the next: 2 to the 20 ways to the last."""
    root = grow(tmp_path / "set", "{cat,dog}/*3")
    for level in range(20):
        here = tmp_path / "away" / str(level)
        here.mkdir(parents=True)
        for name in "ab":
            (here / name).symlink_to(tmp_path / "away" / str(level + 1))
    grow(tmp_path / "away" / "20", "deep.png")
    (root / "cat" / "chain").symlink_to(tmp_path / "away" / "0")
    assert counts(listed(root)) == {"train/cat": 4, "train/dog": 3}


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 50 deep"):
        listed(grow(tmp_path / "set", "{cat,dog}/*3 cat/" + "d/" * 60))


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = grow(tmp_path / "set", f"train/{{{one},dog}}/*3 val/{{{other},dog}}/*2")
    assert counts(listed(root)) == {
        f"train/{one}": 3,
        "train/dog": 3,
        f"val/{one}": 2,
        "val/dog": 2,
    }
    with pytest.raises(ConfigError, match="'café' is there twice, in two Unicode forms"):
        listed(grow(root, f"train/{other}/*3"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jfif", b"\xff\xd8\xff\xe0", ""),
        ("a.jpe", b"\xff\xd8\xff\xe1", ""),
        ("bare", PNG, ""),
        ("a.avif", b"\0\0\0\x1cftypavif", ""),
        ("a.webp_", b"RIFF\1\2\3\4WEBPVP8 ", ""),
        ("a.gif.1", b"GIF89a", ""),
        ("a.txt", b"BM\x46\0\0\0\0\0\0\0", ""),
        ("a.heic", b"\0\0\0\x18ftypheic", ""),  # an image, so that decoding names it
        ("a.jp2", b"\0\0\0\x0cjP  \r\n", ""),
        ("a.cr2", b"II*\0\x10\0\0\0CR", ""),
        ("a.svg", b"<?xml version='1.0'?>\n<svg/>", ""),
        ("words.txt", b"BMW, P1 and GIF", "text"),
        ("none", b"", "an empty file"),
        ("data.npz", b"PK\3\4", "an archive"),
        ("a.mp4", b"\0\0\0\x18ftypisom", "a video"),
        ("page", b"<!DOCTYPE html>", "a web page"),
        ("big", b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        ("model.bin", b"\0\1\2", "data"),
    ],
)
def test_a_file_is_known_by_its_content(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    root = grow(tmp_path / "set", "{cat,dog}/*3")
    (root / "cat" / name).write_bytes(content)
    listing = listed(root)
    assert len(listing) == 6 + (not reason)
    lines = [f"left out, 1 file: {reason} ('cat/{name}')"] if reason else []
    assert list(listing.notes) == lines


def test_what_is_no_file_is_left_out_or_reported(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", "{cat,dog}/*3")
    os.mkfifo(root / "cat" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(root)  # names of sockets are short
        try:
            server.bind("cat/socket")
        finally:
            os.chdir(before)
    (root / "cat" / "gone.txt").symlink_to("nowhere")
    (root / "dog" / "gone.png").symlink_to("nowhere")  # decoding names it
    listing = listed(root)
    assert counts(listing) == {"train/cat": 3, "train/dog": 4}
    assert "2 files: no regular file ('cat/pipe', 'cat/socket')" in "\n".join(listing.notes)
    assert "1 file: a link to nothing ('cat/gone.txt')" in "\n".join(listing.notes)


NAMES = st.sampled_from(
    [
        *("train", "val", "valid", "Test", "cat", "dog", "images", "labels", ".git", "@eaDir"),
        *("a.png", "b.jpg", "c", "d.txt", "._e.png", "Thumbs.db", "train.txt", "f.csv", "g.heic"),
    ]
)
CONTENT = st.sampled_from([PNG, b"\xff\xd8\xff\xe0", b"words", b"", b"\0\1", b"....ftypheic"])


@given(
    tree=st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map(tuple), CONTENT, max_size=20)
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_file_is_an_image_of_a_class_or_left_out_with_a_reason(
    tree: dict[tuple[str, ...], bytes], tmp_path: Path
) -> None:
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    made = set()
    for path, content in {**tree, ("cat", "z.png"): PNG, ("dog", "z.png"): PNG}.items():
        file = root.joinpath(*path)
        if not any(parent.is_file() for parent in file.parents) and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            made.add("/".join(path))
    found = walk("imagefolder:set", root)
    seen = [each.name for each in found.top.every_image()]
    left_out = [name for names in found.left_out.values() for name in names]
    assert sorted([*seen, *left_out]) == sorted(made)
    try:
        listing = listed(root)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    said = sum(
        int(match[1].replace(",", ""))
        for note in listing.notes
        if (match := re.match(r"left out, ([0-9,]+) files?: ", note))
    )
    assert len(listing) + said == len(made)
    assert len({file.name for file in listing.files}) == len(listing)
