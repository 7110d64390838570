"""No page names a command or option that the program does not have; cheap lines really run."""

from pathlib import Path

import pytest
from command_tree import PLACEHOLDERS, children, every_option, fault_of, root
from pages import LAB, ROOT, Block, blocks, commands, inline_code, pages
from sandbox import STUDY, run_in_process

NAMES = {  # names on the pages, and their meaning in the sandbox
    "STUDY": STUDY,
    "my-study": STUDY,
    "my-study:12": f"{STUDY}:0",
    "fashion": STUDY,
    "fashion-on-arm": STUDY,
    "arm-140M-animals-long": STUDY,
}
READS = {  # run once for each set of options, on the first page that shows it
    ("front",),
    ("network", "cost"),
    ("network", "reuse"),
    ("network", "verify"),
    ("recipe", "list"),
    ("recipe", "show"),
    ("report",),
    ("study", "list"),
    ("study", "show"),
}
WRITES = {
    ("db", "diff"),
    ("db", "export"),
    ("db", "merge"),
    ("db", "upgrade"),
    ("device", "add"),
    ("device", "list"),
    ("device", "remove"),
    ("study", "delete"),
}
FOREIGN = {  # options of other programs that pages mention
    "--minutes",  # benchmarks/gpu_checks.py
    "--num-cpus",  # ray
    "--on",  # benchmarks/gpu_checks.py
    "--tighten",  # tests/docs/prose.py
}


def shell_blocks() -> list[Block]:
    return [one for page in pages() for one in blocks(page) if one.language == "sh"]


def test_a_block_says_what_it_is() -> None:
    known = {"sh", "python", "text", "yaml", "toml", "json"}
    unknown = [one.place for page in pages() for one in blocks(page) if one.language not in known]
    assert not unknown


def test_each_line_of_a_shell_block_is_a_command() -> None:
    faults = [
        f"{block.place}: {fault}"
        for block in shell_blocks()
        for words in commands(block.text)
        if (fault := fault_of(words, whole=True))
    ]
    assert not faults, "\n".join(faults)


def test_each_command_and_option_in_a_sentence_exists() -> None:
    options, faults = every_option() | FOREIGN, []
    for page in pages():
        for line, code in inline_code(page):
            words, fault = code.split(), ""
            if words[0] == "nas-sv2":
                fault = fault_of(words[1:], whole=False)
            elif words[0] in children(root()) and len(words) > 1 and words[1].islower():
                fault = fault_of(words, whole=False) if words[1].isalpha() else ""
            elif words[0].startswith("--") and words[0].split("=")[0] not in options:
                fault = f"no command has the option {words[0]}"
            if fault:
                faults.append(f"{page.relative_to(ROOT)}:{line}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("line", "whole", "fault"),
    [
        ("search --target arm --budget 140M", True, ""),
        ("search -t arm -n 3", True, ""),
        ("search --target arm --trials many", True, "many"),
        ("search", True, "Missing"),
        ("search", False, ""),
        ("search --train-on cuda", False, "no option ['--train-on']"),
        ("doctor --target cpu", False, "no command"),
        ("device doctor", False, "no command"),
        ("device", True, "is a group"),
        ("device --help", True, ""),
    ],
)
def test_a_line_that_is_not_a_command_is_found(line: str, whole: bool, fault: str) -> None:
    said = fault_of(line.split(), whole=whole)
    assert fault in said and bool(fault) == bool(said)


Line = tuple[str, list[str]]


def command_of(words: list[str]) -> tuple[str, ...]:
    """Return the words of a line that name the command."""
    group = children(children(root()).get(words[0]))
    return tuple(words[: 2 if group else 1])


def cheap_lines() -> dict[Path, list[Line]]:
    """Return the lines to run, by page: their place and their words.

    The lines of the evidence were run when they were written.
    """
    lines: dict[Path, list[Line]] = {}
    seen = set()
    for block in shell_blocks():
        for words in commands(block.text):
            command = command_of(words)
            kind = (command, frozenset(word for word in words if word.startswith("--")))
            once = command in READS and kind not in seen
            shown_only = block.no_run or LAB in block.page.parents or PLACEHOLDERS & set(words)
            if not shown_only and (once or command in WRITES):
                seen.add(kind)
                named = [NAMES.get(word, word) for word in words]
                lines.setdefault(block.page, []).append((block.place, named))
    return lines


@pytest.mark.parametrize(
    "lines",
    [pytest.param(lines, id=str(page.relative_to(ROOT))) for page, lines in cheap_lines().items()],
)
@pytest.mark.usefixtures("here")
def test_cheap_lines_run_in_the_order_of_the_page(
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for place, words in lines:
        asked = ["--yes"] if words[:2] in (["study", "delete"], ["device", "remove"]) else []
        code = run_in_process([*words, *asked], monkeypatch)
        assert code == 0, f"{place}: {' '.join(words)}: {capsys.readouterr().err}"
