"""The generated pages of the reference are those that the code gives now."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import reference_pages
import typer

import nas_sv2
from nas_sv2.cli import app


@pytest.mark.parametrize("name", list(reference_pages.PAGES))
def test_the_committed_page_is_the_generated_one(name: str) -> None:
    written = (reference_pages.FOLDER / name).read_text(encoding="utf-8")
    assert written == reference_pages.PAGES[name](), "python benchmarks/reference_pages.py --write"


def leaves(command: Any, path: tuple[str, ...] = ("nas-sv2",)) -> Iterator[tuple[str, Any]]:
    """Yield the full name of each command that runs something."""
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), command


def test_every_command_and_option_has_help_and_a_place() -> None:
    page = reference_pages.cli_page()
    for name, command in leaves(typer.main.get_command(app)):
        depth = "#" * len(name.split())
        assert f"\n{depth} {name}\n" in page
        section = page.split(f"\n{depth} {name}\n")[1].split("\n## ")[0].split("\n### ")[0]
        assert command.help, name
        for parameter in command.params:
            if not parameter.hidden:
                assert parameter.help, f"{name} {parameter.name}"
            for option in parameter.opts:
                if option.startswith("--"):
                    assert (f"`{option}`" in section) is not parameter.hidden, f"{name} {option}"


def test_every_public_name_has_a_docstring_and_a_place() -> None:
    page = reference_pages.python_page()
    for name in nas_sv2.__all__:
        thing = getattr(nas_sv2, name)
        assert f"\n## {name}\n" in page
        assert not callable(thing) or (thing.__doc__ or "").strip(), name


FOREIGN = {
    "AbstractContextManager", "Any", "Figure", "Iterator", "Literal", "Mapping", "Module", "None",
    "Path", "Self", "Sequence",
}  # fmt: skip
NETWORKS = {"OnnxModel", "PaperNetwork"}
"""Kinds of networks that a script hands on."""


def test_what_public_functions_give_is_described() -> None:
    page, _, answers = reference_pages.python_page().partition("\n# Answers\n")
    given = re.findall(r"^\w+: (.+)$|-> (.+)$", page, re.M)
    classes = {name for pair in given for name in re.findall(r"\b[A-Z]\w+", "".join(pair))}
    described = set(re.findall(r"^## (\w+)$", page + answers, re.M))
    assert {"Comparison", "Front", "Record"} <= classes
    assert classes - FOREIGN - NETWORKS <= described


def test_a_docstring_becomes_markdown() -> None:
    doc = """Do it.

    Args:
        name: The name
            of a thing.
        **more: Others.

    Raises:
        ConfigError: It is wrong.

    After the list."""
    assert reference_pages.rendered(doc) == [
        "Do it.",
        "",
        "**Args**",
        "",
        "- `name`: The name",
        "  of a thing.",
        "- `**more`: Others.",
        "",
        "**Raises**",
        "",
        "- `ConfigError`: It is wrong.",
        "",
        "After the list.",
        "",
    ]
