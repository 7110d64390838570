"""Reads `csv:FILE`: a table whose rows name an image, its label and, if they like, its part.

Paths are relative to the folder of the table. The header names the columns. Without one, a row is
PATH, LABEL and perhaps SPLIT, and its first path must exist.

Without a column for the label, each further column is one of several labels. It has a 1 in the row
of an image that has the label, else 0.

If numbers are asked for, the label is one. The only column beside path and split is then the
label, whatever its name.
"""

import csv
import io
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.folder_tree import ENDINGS
from nas_sv2.evaluate.data.layouts import TRAIN, alike_notes, named, part_of, same_name
from nas_sv2.evaluate.data.split import PARTS

KINDS = PATH, LABEL, SPLIT = "path", "label", "split"
# Names of columns in small letters alone, so that `File_Name` is `filename`.
COLUMNS = {
    PATH: (
        *("path", "file", "filename", "filepath", "filepaths", "filenames", "image", "images"),
        *("imagepath", "imagefile", "imagename", "imagefilename", "img", "imgpath", "imgname"),
    ),
    LABEL: (
        *("label", "labels", "class", "classes", "classname", "classlabel", "labelname"),
        *("target", "category", "categoryname", "y"),
    ),
    SPLIT: ("split", "splits", "set", "subset", "part", "partition", "dataset", "usage"),
}
DELIMITERS = (",", ";", "\t", "|", " ")
MOST_BYTES = 500_000_000  # of a table: five million rows; a device without end stops there
UNNAMED = "an image that no row names"
SEVERAL = re.compile(r"\s*[;,|]\s*")  # between the labels of one image
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
LARGEST = 3.4e38  # of float32, in which labels are kept
FRACTION = re.compile(r"[-+]?\d*\.\d*[1-9]\d*(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One image of a table.

    Attributes:
        line: Number of its line in the file, from 1.
        name: Path of the image below the folder of the table, with `/`; or an absolute path.
        label: Name of its class; of an image with several labels, a 0 or 1 for each; or its
            number, written in one way.
        part: 0 train, 1 val, 2 test; None if the table has no parts.
    """

    line: int
    name: str
    label: str
    part: int | None


@dataclass(eq=False)
class LabelTable:
    """A table of images, read and checked.

    Attributes:
        file: Absolute path of the table.
        rows: Its images, each once.
        left_out: Names of images beside those that are named, by reason.
        notes: Lines on how the table was understood.
        several: Names of the labels of images with several; empty if each has one class.
        number: Name of the number that each image has; empty if labels are not numbers.
    """

    file: Path
    rows: list[LabelRow]
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)
    several: tuple[str, ...] = ()
    number: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: in the order of numbers if all are, else of the alphabet.

        They are the different rows of 0 and 1 if images have several labels, or the numbers.
        """
        names = {row.label for row in self.rows}
        number = all(re.fullmatch(r"-?\d{1,18}", name) for name in names)
        return tuple(sorted(names, key=(lambda name: (int(name), name)) if number else None))


def read_table(spec: str, file: Path, numbers: bool = False) -> LabelTable:
    """Read the rows of a table.

    Args:
        spec: The user's text.
        file: The table.
        numbers: Whether labels are numbers.

    Raises:
        ConfigError: If the file is missing, or is not a table of images and labels, or rows
            contradict each other.
    """
    return _Reader(spec, file, numbers).table()


@dataclass(eq=False)
class _Reader:
    """Reads one table."""

    spec: str
    file: Path
    numbers: bool = False
    number: str = LABEL  # the name of the column of numbers
    notes: list[str] = field(default_factory=list)
    several: Mapping[str, int] = field(default_factory=dict)  # columns of labels, if there are

    def refuse(self, sentence: str) -> ConfigError:
        return ConfigError("data", self.spec, sentence)

    def table(self) -> LabelTable:
        text = self.text()
        first = next(iter(text.splitlines()), "")
        delimiter, columns, has_header = self.understood(first)
        rows = self.once(self.rows(text, delimiter, columns, has_header))
        table = LabelTable(self.file, rows, notes=self.notes, several=tuple(self.several))
        if self.numbers:
            table.number = self.number
            self.check_rows(table)
            self.note_numbers(table)
        elif self.several:
            self.check_rows(table)
        else:
            self.check_labels(table)
        self.note_places(table)
        if not self.numbers:
            table.notes += alike_notes(table.several or table.classes)
        return table

    def text(self) -> str:
        try:
            if not self.file.is_file():
                raise FileNotFoundError("no such file")
            if self.file.stat().st_size > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES / 1e6:.0f} MB")
            content = self.file.read_bytes()
            wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
            return content.decode("utf-16" if wide else "utf-8-sig").lstrip()
        except UnicodeDecodeError as error:
            raise self.refuse(f"must be a table in UTF-8 ({error})") from None
        except (OSError, ValueError) as error:
            raise self.refuse(f"must be csv:FILE of a table that can be read ({error})") from error

    def understood(self, first: str) -> tuple[str, dict[str, int], bool]:
        """Find the delimiter, the place of each column, and whether there is a header."""
        for delimiter in DELIMITERS:
            if columns := self.columns(self.cells(first, delimiter)):
                return delimiter, columns, True
        for delimiter in DELIMITERS:
            cells = self.cells(first, delimiter)
            of_labels = self.number_column if self.numbers else self.label_columns
            if columns := of_labels(cells):
                return delimiter, columns, True
        for delimiter in DELIMITERS:
            cells = self.cells(first, delimiter)
            if len(cells) in (2, 3) and os.path.isfile(self.place(cells[0])):
                kinds = KINDS[: len(cells)]
                self.notes.append(f"the table has no header; its columns are {', '.join(kinds)}")
                return delimiter, {kind: at for at, kind in enumerate(kinds)}, False
        several = (
            "or a column path and a column of 0 and 1 for each of two labels or more (a column of "
            "numbers needs score: mae in a recipe), "
        )
        raise self.refuse(
            "must be a table with one column path and one column label, named in its first line, "
            f"{'' if self.numbers else several}"
            f"or rows PATH,LABEL whose first path exists; the first line is {first[:80]!r}"
        )

    def cells(self, line: str, delimiter: str) -> list[str]:
        with suppress(csv.Error):
            return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        return []

    def columns(self, cells: Sequence[str]) -> dict[str, int] | None:
        """Return the place of each column; None if the cells are not a header."""
        places = self.places(cells)
        if not places[PATH] or not places[LABEL]:
            return None
        columns = self.only(cells, places)
        self.number = same_name(cells[columns[LABEL]])
        unused = [cell for at, cell in enumerate(cells) if at not in columns.values()]
        if unused:
            self.notes.append(f"columns that are not read: {named(unused)}")
        return columns

    def label_columns(self, cells: Sequence[str]) -> dict[str, int] | None:
        """Return the columns of a table without one for the class; the others are labels."""
        places = self.places(cells)
        if not places[PATH] or places[LABEL] or len(cells) < 3:
            return None
        columns = self.only(cells, places)
        others = [at for at in range(len(cells)) if at not in columns.values()]
        if len(others) < 2:
            return None
        labels = {same_name(cells[at]): at for at in others}
        if "" in labels or len(labels) < len(others):
            raise self.refuse(f"must have another name for each label; it has {named(cells, 9)}")
        self.several = labels
        self.notes.append(f"several labels an image: {named(labels, 5)}")
        return columns

    def number_column(self, cells: Sequence[str]) -> dict[str, int] | None:
        """Return the columns of a table without one named as the label, but with one number."""
        places = self.places(cells)
        if not places[PATH] or len(cells) < 2:
            return None
        columns = self.only(cells, places)
        others = [at for at in range(len(cells)) if at not in columns.values()]
        if len(others) != 1 or not cells[others[0]]:
            found = named([cells[at] for at in others], 9)
            raise self.refuse(f"must have one column label beside path and split; it has {found}")
        self.number = same_name(cells[others[0]])
        return {**columns, LABEL: others[0]}

    def places(self, cells: Sequence[str]) -> dict[str, list[int]]:
        """Return the places of the columns that could be each kind."""
        names = [re.sub(r"[\W\d_]", "", cell).lower() for cell in cells]
        return {
            kind: [at for at, name in enumerate(names) if name in known]
            for kind, known in COLUMNS.items()
        }

    def only(self, cells: Sequence[str], places: Mapping[str, list[int]]) -> dict[str, int]:
        """Return the place of each kind, of which there must be one."""
        for kind, found in places.items():
            if len(found) > 1:
                both = named(cells[at] for at in found)
                raise self.refuse(f"must have one column for the {kind}; {both} could each be it")
        return {kind: found[0] for kind, found in places.items() if found}

    def rows(
        self, text: str, delimiter: str, columns: dict[str, int], has_header: bool
    ) -> Iterator[LabelRow]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        width = 0
        try:
            for cells in reader:
                if not any(map(str.strip, cells)):
                    continue
                is_header, width = has_header and not width, width or len(cells)
                if len(cells) != width:
                    found = f"line {reader.line_num} has {len(cells)} columns, not {width}"
                    raise self.refuse(f"must have rows of equal length; {found}")
                if not is_header:
                    own = {kind: cells[at].strip() for kind, at in columns.items()}
                    if self.several:
                        own[LABEL] = self.bits(reader.line_num, cells)
                    yield self.row(reader.line_num, own)
        except csv.Error as error:
            raise self.refuse(f"must be a table (line {reader.line_num}: {error})") from error

    def bits(self, line: int, cells: Sequence[str]) -> str:
        """Return a row's labels as a text of 0 and 1."""
        bits = ""
        for name, at in self.several.items():
            if cells[at].strip() not in ("0", "1"):
                found = f"line {line} has {cells[at].strip()[:80]!r} in {name!r}"
                allowed = "a column label, or 0 or 1 in each column of several labels"
                raise self.refuse(f"must have {allowed}; {found}")
            bits += cells[at].strip()
        return bits

    def row(self, line: int, cells: dict[str, str]) -> LabelRow:
        for kind, cell in cells.items():
            if not cell:
                raise self.refuse(f"must have a {kind} in each row; line {line} has none")
        name, part = cells[PATH], part_of(cells.get(SPLIT, ""))
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) or "\0" in name:
            raise self.refuse(f"must name files, not {name[:80]!r} (line {line})")
        if SPLIT in cells and part is None:
            found = f"line {line} says {cells[SPLIT]!r}"
            raise self.refuse(f"must have train, val or test as the split of each row; {found}")
        if "\\" in name and not os.path.exists(self.place(name)):
            name = name.replace("\\", "/")  # of Windows
        return LabelRow(line, os.path.normpath(name), self.label(line, cells[LABEL]), part)

    def label(self, line: int, cell: str) -> str:
        """Return the name of a class, or a number in one way of writing."""
        if not self.numbers and FRACTION.fullmatch(cell):
            allowed = "must have classes as labels, not numbers with fractions"
            hint = "score: mae in a recipe reads numbers"
            raise self.refuse(f"{allowed}; line {line} has {cell} ({hint})")
        if not self.numbers:
            return same_name(cell)
        number = float(cell) if NUMBER.fullmatch(cell) else math.nan
        if not abs(number) <= LARGEST:
            found = f"line {line} has {cell[:80]!r} in {self.number!r}"
            raise self.refuse(f"must have a finite number in each row, as 23.5; {found}")
        return repr(number)

    def place(self, name: str) -> Path:
        return self.file.parent / name

    def once(self, rows: Iterator[LabelRow]) -> list[LabelRow]:
        """Return each image once, and refuse rows that contradict each other."""
        kept: dict[str, LabelRow] = {}
        repeated = 0
        for row in rows:
            first = kept.setdefault(row.name, row)
            repeated += first is not row
            if (first.label, first.part) != (row.label, row.part):
                kind = LABEL if first.label != row.label else SPLIT
                found = f"lines {first.line} and {row.line} differ about {row.name!r}"
                raise self.refuse(f"must give each image one {kind}; {found}")
        if repeated:
            self.notes.append(f"rows that repeat an image and do not count: {repeated:,}")
        return list(kept.values())

    def check_labels(self, table: LabelTable) -> None:
        """Refuse fewer than two classes, and classes that training never sees."""
        train = {row.label for row in table.rows if row.part in (None, TRAIN)}
        if len(table.classes) < 2:
            found = f"{len(table.classes)}: {named(table.classes)}"
            raise self.refuse(f"must have two labels or more; it has {found}")
        if not train:
            raise self.refuse("must have rows of the split train; it has none")
        for row in table.rows:
            if row.label not in train and row.part:
                allowed = f"must have only classes of train in {PARTS[row.part]}"
                raise self.refuse(f"{allowed}; {row.label!r} is not one (line {row.line})")
        pieces = {name: set(SEVERAL.split(name)) for name in table.classes}
        times = Counter(piece for each in pieces.values() for piece in each)
        for row in table.rows:
            several = pieces[row.label]
            if len(several) > 1 and all(times[piece] > 1 for piece in several):
                found = f"{row.label!r} names {len(several)} that others have (line {row.line})"
                raise self.refuse(f"must have one class for each image; {found}")

    def note_numbers(self, table: LabelTable) -> None:
        """Note the range of the numbers."""
        numbers = [float(row.label) for row in table.rows]
        ends = f"{min(numbers):.6g} to {max(numbers):.6g}"
        table.notes.append(f"the labels are numbers, {table.number}: from {ends}")

    def check_rows(self, table: LabelTable) -> None:
        """Refuse a table without rows to train on, or none at all."""
        if not any(row.part in (None, TRAIN) for row in table.rows):
            why = "none of the split train" if table.rows else "no row"
            raise self.refuse(f"must have rows to train on; it has {why}")

    def note_places(self, table: LabelTable) -> None:
        """Note files outside the folder, and find images that no row names."""
        outside = [
            row.name for row in table.rows if os.path.isabs(row.name) or row.name[:2] == ".."
        ]
        if outside:
            table.notes.append(
                f"followed, {len(outside):,} paths that lead out of the folder of the table "
                f"({named(outside)})"
            )
        names = {row.name for row in table.rows}
        for folder in sorted({os.path.dirname(name) for name in names}):
            files: list[str] = []
            with suppress(OSError):  # a folder that is missing, or may not be listed
                files = sorted(os.listdir(self.place(folder)))
            for file in files:
                path = os.path.join(folder, file)
                if os.path.splitext(file)[1].lower() in ENDINGS and path not in names:
                    table.left_out[UNNAMED].append(path)
