"""Text of others in Markdown that is ours: no name can become markup or a picture."""

import re

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&^$])")
_FENCES = re.compile(r"`+")


def escaped(text: object) -> str:
    """`text` on one line, so that Markdown shows it as it is; also in a cell of a table.

    GitHub's dialect makes a link of a bare address all the same, to what is read there.
    """
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def code(text: str) -> str:
    """`text` on one line as a code span, whatever backticks are in it; not for tables."""
    line = " ".join(text.split())
    longest = max((len(run) for run in _FENCES.findall(line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"


def table(*rows: tuple[object, ...]) -> list[str]:
    """Lines of a table whose first row is its head; every cell is escaped."""
    head, *body = (f"| {' | '.join(map(escaped, row))} |" for row in rows)
    return [head, "| " + " | ".join("---" for _ in rows[0]) + " |", *body]
