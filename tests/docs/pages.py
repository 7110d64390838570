"""Read the pages of the documentation: their paragraphs, code blocks and commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAB = ROOT / "docs" / "lab"

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>[\w-]*)(?P<rest>.*)$")
NOTE = re.compile(r"^ *<!-- (?P<kind>no-run|file): (?P<text>.+) -->$")
INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    A comment before it may say more: `<!-- no-run: REASON -->`, or `<!-- file: PATH -->` if the
    block shows a file of the repository.
    """

    page: Path
    line: int
    language: str
    text: str
    no_run: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        """The page and the line, as an editor opens them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Text:
    """A paragraph, list item, heading or table row, with the line it begins at."""

    line: int
    kind: str
    text: str


def pages() -> list[Path]:
    """Return every page that a user reads; the changelog is not one of them."""
    docs = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *docs]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if opening is None:
            at += 1
            continue
        before = next((line for line in reversed(lines[:at]) if line.strip()), "")
        note = NOTE.match(before)
        notes = {note["kind"].replace("-", "_"): note["text"]} if note else {}
        indent, end = len(opening["indent"]), opening["fence"]
        start = at + 1
        at = start
        while at < len(lines) and lines[at].strip() != end:
            at += 1
        text = "\n".join(line[indent:] for line in lines[start:at])
        yield Block(page, start, opening["language"], text, **notes)
        at += 1


def prose(page: Path) -> str:
    """Return the page with its code blocks and comments blanked, line for line."""
    text = page.read_text(encoding="utf-8")
    out, fence = [], ""
    for line in text.splitlines():
        opening = FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
            out.append("")
        elif opening is not None:
            fence = opening["fence"]
            out.append("")
        else:
            out.append(re.sub(r"<!--.*?-->", "", line))
    return "\n".join(out)


def texts(page: Path) -> Iterator[Text]:
    """Yield the page's prose, one paragraph, list item, heading or table row at a time."""
    kind, start, lines = "paragraph", 0, list[str]()
    for number, line in enumerate([*prose(page).splitlines(), ""], 1):
        bare = line.strip()
        item = re.match(r"(?:[-*+]|\d+\.) +(.*)", bare)
        single = "heading" if bare.startswith("#") else "row" if bare.startswith("|") else ""
        if lines and (not bare or item or single):
            yield Text(start, kind, " ".join(lines))
            lines = []
        if single:
            yield Text(number, single, bare.strip("#| "))
        elif bare:
            if not lines:
                kind, start = ("item" if item else "paragraph"), number
            lines.append(item[1] if item else bare)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `nas-sv2` command in the text of a shell block."""
    for line in text.replace("\\\n", " ").splitlines():
        if "nas-sv2" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in lexer:
            if word in {"&&", "||", ";", "|", "&"}:
                parts.append([])
            else:
                parts[-1].append(word)
        for words in parts:
            while words and re.fullmatch(r"[A-Z_][A-Z0-9_]*=.*|nice|time", words[0]):
                del words[0]
            redirected = [at for at, word in enumerate(words) if word in {"<", ">", ">>"}]
            if words and words[0] == "nas-sv2":
                yield words[1 : min(redirected, default=len(words))]


def inline_code(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each piece of inline code of a page."""
    text = prose(page)
    for found in INLINE.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found[1]
