"""Check the language of pages and docstrings: plain sentences of at most 25 words.

`python tests/docs/prose.py [FILE ...]` prints each finding with its place; `--tighten` lowers the
allowances to today's counts and never raises one.  Vale, which checks such rules too, loads its
program from the network at its first run, so the patterns are here.
"""

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pages import ROOT, pages, texts

FOLDERS = ["nas_sv2", "space", "latency", "evaluate", "studies", "search"]
ALLOWANCE = Path(__file__).with_name("allowance.json")
WORDS = 25  # in a sentence

START = r"(?:^|(?<=[.!?:;] ))"
RULES = {
    "noun clause": rf"{START}(?:What(?! to search)|Whoever|Whatever|Whichever)\b(?![^.!?]*\?)"
    r"|\b[Ww]hoever\b|\b(?:of|than|for|with|by|from|beside) what\b",
    "where for if": rf"{START}Where\b(?![^.!?]*\?)"
    r"|\bwhere (?:not\b|no\b|none\b|nothing\b|nobody\b|there (?:is|are) no\b|that is so\b)",
    "is no": r"(?<![Tt]here )\b(?:is|are|was|were) (?:no|none)\b"
    r"(?! longer| more | less | later | earlier| larger| smaller| faster| slower| better| worse)",
    "fronted of": rf"{START}Of (?!course)",
    "anew": r"\banew\b",
    "told": r"\btold\b(?! apart)",
    "goes on": r"\b(?:go|goes|going|went|gone) on\b",
    "for people": r"(?<!data )\bfor (?:people|programs)\b(?! that)",
    "so at the end": r"(?<!say )(?<!says )(?<!do )(?<!does )(?<!did )\bso\.(?= |$)",
    "poetic": r"\b(?:at last|comes? to nothing|cannot be meant)\b",
    "metaphor": r"\b(?:crown|crowns|crowned|hopeless|fruitless|duels?|seats?|relays?)\b",
}
PATTERNS = {name: re.compile(pattern) for name, pattern in RULES.items()}
VERBLESS = re.compile(
    r"(?:Of|On|With|By|In|At|To|From|For|Beside|Behind|Above|Below|Without|Itself|Itself;|Those|"
    r"What|Where|Whoever|Whose|Such)\b"
)
SENTENCE = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_]*[A-Z0-9]|nas-sv2)")
SHORT = re.compile(r"\b(?:e\.g|i\.e|vs|etc|Fig|Sec|cf|al|No|approx)\.")


@dataclass(frozen=True)
class Finding:
    """A sentence that breaks a rule."""

    path: Path
    line: int
    rule: str
    sentence: str

    def __str__(self) -> str:
        """Return the finding as one line that an editor can open."""
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.rule}: {self.sentence}"


def plain(text: str) -> str:
    """Return Markdown as words: code and addresses become an X, links their text."""
    text = re.sub(r"!\[[^]]*\]\([^)]*\)", "", text)
    text = re.sub(r"`+[^`]*`+", "X", text)
    text = re.sub(r"\[([^]]*)\](?:\([^)]*\)|\[[^]]*\])?", r"\1", text)
    text = re.sub(r"https?://\S+|<[^>]*>", "X", text)
    text = SHORT.sub(lambda found: found[0].replace(".", ""), text)
    return re.sub(r"\s+", " ", text.replace("*", "")).strip()


def sentences(text: str) -> list[str]:
    """Split plain text into sentences."""
    return [sentence for sentence in SENTENCE.split(text) if sentence]


def words(sentence: str) -> int:
    """Count the words of a sentence; signs and numbers alone are none."""
    return len(re.findall(r"[A-Za-z][\w'’/-]*", sentence))


def broken(text: str, *, count: bool) -> Iterator[tuple[str, str]]:
    """Yield the rule and the sentence of each fault in a paragraph."""
    for sentence in sentences(plain(text)):
        for rule, pattern in PATTERNS.items():
            if pattern.search(sentence):
                yield rule, sentence
        if count and words(sentence) > WORDS:
            yield f"over {WORDS} words", sentence


def page_findings(page: Path) -> Iterator[Finding]:
    """Yield the faults of a page; a heading may be a question word and a row a list."""
    for text in texts(page):
        if text.kind != "heading":
            for rule, sentence in broken(text.text, count=text.kind != "row"):
                yield Finding(page, text.line, rule, sentence)


def docstring_findings(path: Path) -> Iterator[Finding]:
    """Yield the faults of the docstrings in a module."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, documented) or not (doc := ast.get_docstring(node)):
            continue
        line = getattr(node, "lineno", 1)
        if VERBLESS.match(doc):
            yield Finding(path, line, "verbless", doc.splitlines()[0])
        for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\w+(?: \(.*\))?: ))", doc):
            drawn = re.search(r"\S {3,}\S|^ {4,}", paragraph, re.M)  # a table or a picture
            for rule, sentence in broken(paragraph, count=not drawn):
                yield Finding(path, line, rule, sentence)


def modules(folder: str) -> list[Path]:
    """Return the modules of a top folder; links to the other folders are not followed."""
    if folder != "nas_sv2":
        return sorted((ROOT / folder).rglob("*.py"))
    own = [ROOT / folder, *(ROOT / folder / name for name in ("commands", "show", "database"))]
    return sorted(path for place in own for path in place.glob("*.py"))


def counted() -> dict[str, dict[str, int]]:
    """Count the findings by folder of code, or `docs`, and rule."""
    found = {"docs": Counter(one.rule for page in pages() for one in page_findings(page))}
    for folder in FOLDERS:
        every = (one.rule for path in modules(folder) for one in docstring_findings(path))
        found[folder] = Counter(every)
    return {place: dict(sorted(rules.items())) for place, rules in found.items()}


def tighten() -> None:
    """Lower each allowance to the count of today."""
    found = counted()
    if ALLOWANCE.exists():
        allowed = json.loads(ALLOWANCE.read_text(encoding="utf-8"))
        found = {
            place: {
                rule: min(count, allowed.get(place, {}).get(rule, 0))
                for rule, count in rules.items()
                if rule in allowed.get(place, {})
            }
            for place, rules in found.items()
        }
    ALLOWANCE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Print the findings of the files named, or of everything."""
    names = [Path(name).resolve() for name in sys.argv[1:] if not name.startswith("-")]
    if "--tighten" in sys.argv:
        tighten()
        return
    for path in names or [*pages(), *(path for folder in FOLDERS for path in modules(folder))]:
        for finding in (page_findings if path.suffix == ".md" else docstring_findings)(path):
            print(finding)


if __name__ == "__main__":
    main()
