"""Tables of labels: read as they are meant, or refused with the line and the reason."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_listing import Listing, list_images
from nas_sv2.evaluate.data.label_table import read_table
from nas_sv2.evaluate.data.split import PARTS

Folder = Callable[..., Path]
PETS = {"train/cat": 2, "train/dog": 2}
SPLIT = {"train/cat": 1, "train/dog": 1, "val/cat": 1, "val/dog": 1}
ROWS = "a.png,cat\nb.png,dog\nc.png,cat\nd.png,dog\n"
PARTED = "a.png,cat,train\nb.png,dog,Train\nc.png,cat,valid\nd.png,dog,VAL\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png", "d.png", "sub/e.png", "sub/f g.png"):
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    return root


def listed(root: Path, text: str | bytes) -> Listing:
    file = root / "labels.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list_images(f"csv:{file}")


def counts(listing: Listing) -> dict[str, int]:
    found = Counter(f"{PARTS[f.part]}/{listing.class_names[f.label]}" for f in listing.files)
    return dict(found)


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        (f"path,label\n{ROWS}", PETS, ""),
        (f"filename,class,split\n{PARTED}", SPLIT, ""),
        (f"File_Name,Label,Data Set\n{PARTED}", SPLIT, ""),
        (ROWS, PETS, "no header; its columns are path, label"),
        (PARTED, SPLIT, "no header; its columns are path, label, split"),
        (f"image;label\n{ROWS}".replace(",", ";"), PETS, ""),
        (f"image\tlabel\n{ROWS}".replace(",", "\t"), PETS, ""),
        (ROWS.replace(",", " "), PETS, "no header"),
        (f"\ufeffpath,label\r\n{ROWS}".replace("\n", "\r\n"), PETS, ""),
        (f"path,label\n{ROWS}".encode("utf-16"), PETS, ""),
        ("label,id,path\ncat,1,a.png\ndog,2,b.png\n", {"train/cat": 1, "train/dog": 1}, "'id'"),
        (f"path,label\n\n{ROWS}\n\n", PETS, ""),
        (
            f"path,label\n{ROWS}./a.png,cat\n",
            PETS,
            "rows that repeat an image and do not count: 1",
        ),
        (
            'path,label\n"sub/f g.png"," cat "\nsub\\e.png,dog\n',
            {"train/cat": 1, "train/dog": 1},
            "",
        ),
        ("path,label\na.png,10\nb.png,9\n", {"train/9": 1, "train/10": 1}, ""),
        ("path,label\na.png,Cat\nb.png,cat\n", {"train/Cat": 1, "train/cat": 1}, "are alike"),
        (f"path,label\n{ROWS}gone.png,cat\n", {**PETS, "train/cat": 3}, ""),
        ("path,label\na.png,cat\nb.png,dog\n", {"train/cat": 1, "train/dog": 1}, "no row names"),
        ("path,label\n../photos/a.png,cat\nb.png,dog\n", None, "1 paths that lead out"),
    ],
)
def test_a_table_is_read_as_it_is_meant(
    text: str | bytes, expected: dict[str, int] | None, said: str, photos: Path
) -> None:
    listing = listed(photos, text)
    assert counts(listing) == (expected or {"train/cat": 1, "train/dog": 1})
    assert said in "\n".join(listing.notes)


def test_classes_that_are_numbers_are_in_their_order(photos: Path) -> None:
    assert listed(photos, "path,label\na.png,10\nb.png,9\n").class_names == ("9", "10")
    assert listed(photos, "path,label\na.png,10\nb.png,x\n").class_names == ("10", "x")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "first line is ''"),
        ("name,age\n1,2\n", "first line is 'name,age'"),
        ("filename,cat,dog\na.png,yes,0\n", "column label, or 0 or 1 .* has 'yes' in 'cat'"),
        ("path,label\n", "two labels or more; it has 0"),
        ("path,label\na.png,cat\n", "two labels or more; it has 1: 'cat'"),
        ("path,image,label\na.png,a.png,cat\n", "one column for the path; 'path', 'image'"),
        ("path,class_id,class_name,label\n", "one column for the label; 'class_name', 'label'"),
        (f"path,label\n{ROWS}a.png,dog\n", "one label; lines 2 and 6 differ about 'a.png'"),
        (f"path,label,split\n{PARTED}a.png,cat,val\n", "one split; lines 2 and 6 differ"),
        ("path,label\na.png,cat\nb.png,\n", "a label in each row; line 3 has none"),
        ("path,label\n,cat\nb.png,dog\n", "a path in each row; line 2 has none"),
        ("path,label\na.png,cat,x\n", "line 2 has 3 columns, not 2"),
        ("path,label,split\na.png,cat,fold0\n", "line 2 says 'fold0'"),
        ("path,label,split\na.png,cat,val\nb.png,dog,val\n", "rows of the split train"),
        ("path,label,split\na.png,cat,train\nb.png,dog,val\n", r"'dog' is not one \(line 3\)"),
        ("path,label\nhttps://x/a.png,cat\n", "must name files, not 'https://x/a.png'"),
        ("path,label\na.png,0.37\nb.png,1.52\n", "not numbers with fractions; line 2 has 0.37"),
        ("path,label\na.png,cat\nb.png,cat;dog\nc.png,dog\n", r"'cat;dog' names 2 .* \(line 3\)"),
        ("path,label\na.png,a|b\nb.png,b | c\nc.png,c|a\n", r"'a\|b' names 2 that others have"),
        ("path,label\nx.png,cat\ny.png,dog\n", "none of them is there, 'x.png' first"),
        (f"{'x' * 300},cat\n", "first line is 'xxx"),
        (f"path,label\n{'x' * 300}\\a.png,cat\ny.png,dog\n", "none of them is there"),
        ('path,label\n"a.png,cat\n', "must be a table"),
        (b"path,label\n\xff\xfe\xfa,cat\n", "in UTF-8"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(
    text: str | bytes, found: str, photos: Path
) -> None:
    with pytest.raises(ConfigError, match=found) as told:
        listed(photos, text)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith("data must ")


@pytest.mark.parametrize("where", ["", "missing.csv", ".", "/dev/zero"])
def test_what_is_no_file_is_refused(where: str, photos: Path) -> None:
    found = "a table that can be read" if where else "a folder or a file after the colon"
    with pytest.raises(ConfigError, match=found):
        list_images(f"csv:{photos / where if where else ''}")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(b"path,label\n" + text)
    try:
        read_table("csv:any", file)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_a_table_is_opened_and_missing_images_are_faults(folder: Folder) -> None:
    root = folder()
    rows = [f"{file.relative_to(root)},{file.parent.name}" for file in root.glob("*/*")]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
    data = open_data(f"csv:{root / 'labels.csv'}")
    assert data.key == open_data(f"imagefolder:{root}").key
    (root / "labels.csv").write_text("\n".join(["path,label", *rows, "cat/gone.png,cat"]))
    with pytest.raises(ConfigError, match=r"1 of 21 images cannot be read: 'cat/gone.png'"):
        open_data(f"csv:{root / 'labels.csv'}")


LABELS = "path,sun,sea,split\na.png,1,0,train\nb.png,1,1,train\nc.png,0,0,val\nd.png,0,1,val\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_of_0_and_1_are_labels_of_images_with_several(
    photos: Path, delimiter: str
) -> None:
    listing = listed(photos, LABELS.replace(",", delimiter))
    assert listing.several == ("sun", "sea")
    found = {file.name: listing.class_names[file.label] for file in listing.files}
    assert found == {"a.png": "10", "b.png": "11", "c.png": "00", "d.png": "01"}
    assert any("several labels an image: 'sun', 'sea'" in note for note in listing.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("1,1,train", "1,2,train"), "0 or 1 in each column of several labels; line 3 has '2' in"),
        (("1,1,train", "1,,train"), "a column label, or 0 or 1 .*; line 3 has '' in 'sea'"),
        (("1,1,train", "1,nan,train"), "line 3 has 'nan' in 'sea'"),
        (("1,1,train", "1,train"), "rows of equal length; line 3 has 3 columns, not 4"),
        (("sun,sea", "sun,sun"), "another name for each label"),
        (("sun,sea", "sun,"), "another name for each label"),
        (("path", "thing"), "one column path and one column label"),
        ((",sea", ""), "0 or 1|one column label"),
        (("train", "val"), "must have rows to train on; it has none of the split train"),
        ((LABELS.partition("\n")[2], ""), "must have rows to train on; it has no row"),
        (("b.png,1,1", "a.png,1,1"), "each image one label; lines 2 and 3 differ about 'a.png'"),
    ],
)
def test_a_table_of_several_labels_that_does_not_fit_is_refused(
    photos: Path, changes: tuple[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        listed(photos, LABELS.replace(*changes))


def test_images_of_a_table_have_their_several_labels(folder: Folder) -> None:
    root = folder(classes=("all",), count=20) / "all"
    rows = [f"{number}.png,{number % 2},{number // 10}" for number in range(20)]
    (root / "labels.csv").write_text("\n".join(["file,odd,late", *rows]))
    data = open_data(f"csv:{root / 'labels.csv'}", resolution=8)
    assert data.kind == "labels" and data.class_names == ("odd", "late")
    assert [len(part) for part in data.parts] == [16, 4]
    train, val = (part.counts(2) for part in data.parts)
    assert [a + b for a, b in zip(train, val, strict=True)] == [10, 10]
    (root / "labels.csv").write_text("\n".join(["file,odd,early", *rows]))
    assert open_data(f"csv:{root / 'labels.csv'}", resolution=8).key != data.key


AGES = "path,age,split\na.png,3,train\nb.png,4.5,train\nc.png,-1e1,val\nd.png,.5,val\n"


def as_numbers(root: Path, text: str) -> Listing:
    (root / "labels.csv").write_text(text)
    return list_images(f"csv:{root / 'labels.csv'}", numbers=True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (AGES, "age"),
        (AGES.replace("age", "label"), "label"),
        (AGES.replace(",", ";"), "age"),
        (AGES.replace("age", "y").replace("path,", "id,path,").replace("\n", "\n7,", 4), "y"),
        (AGES.partition("\n")[2], "label"),
    ],
)
def test_numbers_are_read_where_they_are_asked_for(photos: Path, text: str, name: str) -> None:
    listing = as_numbers(photos, text)
    assert (listing.kind, listing.number, listing.several) == ("numbers", name, ())
    found = {file.name: float(listing.class_names[file.label]) for file in listing.files}
    assert found == {"a.png": 3, "b.png": 4.5, "c.png": -10, "d.png": 0.5}
    assert f"the labels are numbers, {name}: from -10 to 4.5" in listing.notes


@pytest.mark.parametrize("wrong", ["old", "nan", "inf", "1e39", "4,5", "1_0", "٣", "0x3", ""])
def test_a_label_that_is_no_number_is_refused_with_its_line(photos: Path, wrong: str) -> None:
    message = rf"as 23\.5; line 3 has '{wrong}' in 'age'" if wrong else "label in each row; line 3"
    with pytest.raises(ConfigError, match=message):
        as_numbers(photos, AGES.replace("4.5", f'"{wrong}"'))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("age", "path2"), "one column for the path; 'path', 'path2'"),
        (
            ("path,age", "path,age,size"),
            "one column label beside path and split; it has 'age', 'siz",
        ),
        ((",age", ""), "one column label beside path and split; it has"),
        (("path", "thing"), "one column path and one column label"),
        (("train", "val"), "must have rows to train on; it has none of the split train"),
        (("b.png,4.5", "a.png,4.5"), "each image one label; lines 2 and 3 differ about 'a.png'"),
    ],
)
def test_a_table_of_numbers_that_does_not_fit_is_refused(
    photos: Path, changes: tuple[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        as_numbers(photos, AGES.replace(*changes))


def test_numbers_are_never_guessed(photos: Path) -> None:
    with pytest.raises(ConfigError, match="a column of numbers needs score: mae in a recipe"):
        listed(photos, AGES)
    with pytest.raises(
        ConfigError, match=r"line 3 has 4\.5 .score: mae in a recipe reads numbers"
    ):
        listed(photos, AGES.replace("age", "label"))
    whole = (
        AGES.replace("age", "label").replace("4.5", "4").replace("-1e1", "3").replace(".5", "4")
    )
    assert listed(photos, whole).kind == "classes"
    assert as_numbers(photos, whole).kind == "numbers"


def test_a_folder_has_no_numbers(folder: Folder) -> None:
    for spec in (f"imagefolder:{folder()}", "animals", "cifar10"):
        with pytest.raises(ConfigError, match="must be csv:FILE or npz:FILE with the score mae"):
            open_data(spec, numbers=True)


def test_images_of_a_table_have_their_number(folder: Folder) -> None:
    root = folder(classes=("all",), count=20) / "all"
    file = root / "labels.csv"
    rows = [f"{number}.png,{number / 8}" for number in range(20)]
    file.write_text("\n".join(["file,size", *rows]))
    data = open_data(f"csv:{file}", resolution=8, numbers=True)
    assert (data.kind, data.class_names, data.classes) == ("numbers", ("size",), 1)
    assert [len(part) for part in data.parts] == [16, 4]
    every = sorted(label for part in data.parts for label in part.labels.tolist())
    assert every == [number / 8 for number in range(20)]
    file.write_text("\n".join(["file,size", *rows[:-1], "19.png,7"]))
    assert open_data(f"csv:{file}", resolution=8, numbers=True).key != data.key


def test_a_folder_that_may_not_be_listed_has_the_images_of_its_rows(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.listdir", refuse)
    assert len(listed(photos, f"path,label\n{ROWS}")) == len(ROWS.splitlines())
