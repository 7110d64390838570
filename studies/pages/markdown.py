"""Escapes foreign text in our Markdown, so that no name becomes markup or a picture."""

import re

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&^$])")
_FENCES = re.compile(r"`+")


def escaped(text: object) -> str:
    """Return `text` on one line, escaped for Markdown and for a cell of a table.

    GitHub's dialect still turns a bare address into a link, but its target is the text shown.
    """
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def code(text: str) -> str:
    """Return `text`, which may contain backticks, as a code span on one line; not for tables."""
    line = " ".join(text.split())
    longest = max((len(run) for run in _FENCES.findall(line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"


def capital(text: str) -> str:
    """Return a text with a capital at its beginning."""
    return text[0].upper() + text[1:]


def table(*rows: tuple[object, ...]) -> list[str]:
    """Return the lines of a table; the first row is its head, and every cell is escaped."""
    head, *body = (f"| {' | '.join(map(escaped, row))} |" for row in rows)
    return [head, "| " + " | ".join("---" for _ in rows[0]) + " |", *body]
