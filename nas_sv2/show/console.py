"""The one console that everything with a layout is printed through, and its tables.

Markup and emoji are off, because names may hold `[red]` or `:fire:`. Text is made safe by
`terminal.shown`. A table that is wider than the terminal continues below, or is stacked: no figure
is ever cut.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from nas_sv2.show.terminal import shown

FILE_WIDTH = 160
"""Characters of a line where no terminal limits them."""
GAP, INDENT = 2, "  "
NARROWEST = 24
"""Characters that a column of words is given at least before the table is divided."""


class Console(RichConsole):
    """A console of rich that shows every text as it is written, and safe."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Give a text without markup; escape characters that are not printable."""
        return Text(shown(text), style=settings.get("style", ""))


def output() -> Console:
    """Give standard output as a console: as wide as the terminal, or as COLUMNS says."""
    limited = Console().is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if limited else FILE_WIDTH)


def output_to(file: TextIO) -> Console:
    """Give a file as a console that is wide enough for most tables."""
    return Console(file=file, width=FILE_WIDTH)


@dataclass
class Table:
    """A table without lines, whose first two columns hold names.

    Attributes:
        columns: The heads; a head may have several lines.
        wrapped: The columns of words, by index; the others are never broken.
        rows: The cells of each row, and the style of the row.
    """

    columns: Sequence[str]
    wrapped: Collection[int] = ()
    rows: list[tuple[Sequence[str], str]] = field(default_factory=list)

    def add_row(self, *cells: str, style: str | None = None) -> None:
        """Add a row; cells that are left out are empty."""
        filled = [shown(cell) for cell in cells]
        self.rows.append((filled + [""] * (len(self.columns) - len(cells)), style or ""))

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        """Draw it: whole, in parts below each other that repeat the names, or stacked."""
        room = options.max_width
        parts = self._parts(room)
        if parts is None:
            yield from self._stacked(room)
            return
        for number, part in enumerate(parts):
            if number:
                yield Text()
            yield self._part(part)

    def _parts(self, room: int) -> list[list[int]] | None:
        """Divide the columns into parts that fit, each with the names; None if none fits."""
        widths = [self._width(column) for column in range(len(self.columns))]
        names, others = list(range(len(widths)))[:2], list(range(len(widths)))[2:]
        taken = sum(widths[name] + GAP for name in names) - GAP
        if taken + max((GAP + widths[other] for other in others), default=0) > room:
            return None
        parts, left = [list(names)], room - taken
        for other in others:
            if GAP + widths[other] > left:
                parts.append(list(names))
                left = room - taken
            parts[-1].append(other)
            left -= GAP + widths[other]
        return parts

    def _head(self, column: int) -> list[str]:
        """Give the lines of a head; that of the first columns may be a name, and stays one."""
        head = self.columns[column]
        return [shown(head)] if column < 2 else list(map(shown, head.split("\n")))

    def _width(self, column: int) -> int:
        """The cells that a column needs."""
        heads = map(cell_len, self._head(column))
        needed = max(map(cell_len, (cells[column] for cells, _ in self.rows)), default=0)
        return max(*heads, min(needed, NARROWEST) if column in self.wrapped else needed)

    def _part(self, columns: Sequence[int]) -> RichTable:
        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            right = column > 1 and column not in self.wrapped
            head = Text("\n".join(self._head(column)))
            justify: Any = "right" if right else "left"
            table.add_column(head, justify=justify, no_wrap=column not in self.wrapped)
        for cells, style in self.rows:
            table.add_row(*(Text(cells[column]) for column in columns), style=style or None)
        return table

    def _stacked(self, room: int) -> Iterator[Text]:
        """Draw each row as lines: its name, then each head with its cell."""
        first = shown(" ".join(self.columns[0].split()))
        for cells, style in self.rows:
            yield Text(f"{first}: {cells[0]}".removeprefix(": "), f"bold {style}", overflow="fold")
            for head, cell in list(zip(self.columns, cells, strict=True))[1:]:
                words = f"{shown(' '.join(head.split()))}: {cell}".removeprefix(": ")
                if cell:
                    yield Text(INDENT + words, style, overflow="fold")


def plain_table(*columns: str, wrapped: Collection[int] = ()) -> Table:
    """Make a table whose first two columns hold names; `wrapped` are columns of words."""
    return Table(columns, (1,) if len(columns) == 2 and not wrapped else wrapped)
