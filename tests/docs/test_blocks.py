"""Python on the pages runs, and files on the pages are read by the program."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, Block, blocks, pages

from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.networks.lowering import load_network
from nas_sv2.space.units.documents import architecture_from_document
from nas_sv2.space.units.reference import reference

READERS: dict[str, Callable[[Path], Any]] = {
    "nas_sv2_space": lambda path: open_space(str(path)),
    "nas_sv2_recipe": lambda path: open_recipe(str(path)),
    "nas_sv2_architecture": load_network,
    "nas_sv2_network": load_network,
}


def of_language(language: str) -> dict[Path, list[Block]]:
    """Return the blocks of each page that has some in `language`."""
    found = {page: [one for one in blocks(page) if one.language == language] for page in pages()}
    return {page: ones for page, ones in found.items() if ones}


@pytest.mark.parametrize(
    "page", of_language("python"), ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_python_of_a_page_runs_in_order(
    here: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    names: dict[str, Any] = {"__name__": "page"}
    for block in of_language("python")[page]:
        if not block.file and not block.no_run:
            code = compile("\n" * block.line + block.text, str(page), "exec")
            exec(code, names)


@pytest.mark.parametrize(
    "block",
    [block for ones in of_language("yaml").values() for block in ones],
    ids=lambda block: block.place,
)
def test_a_file_on_a_page_is_one_that_the_program_reads(block: Block, tmp_path: Path) -> None:
    (kind,) = [key for key in yaml.safe_load(block.text) if key.startswith("nas_sv2_")]
    path = tmp_path / "page.yaml"
    path.write_text(block.text)
    assert READERS[kind](path)


def test_the_architecture_on_the_page_of_files_is_the_one_that_it_names() -> None:
    (block,) = of_language("yaml")[ROOT / "docs" / "reference" / "files.md"]
    document = yaml.safe_load(block.text)
    assert architecture_from_document(document) == reference("shufflenet_v2_x1_0")
