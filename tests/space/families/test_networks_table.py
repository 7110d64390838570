"""docs/reference/networks.md has the table of the code."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from nas_sv2.space.families.published import STRUCTURES
from nas_sv2.space.units.reference import REFERENCES

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "networks_table.py"
    spec = importlib.util.spec_from_file_location("networks_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_table_of_the_code(script: ModuleType) -> None:
    page = (ROOT / "docs" / "reference" / "networks.md").read_text(encoding="utf-8")
    written = page.split(script.START)[1].split(script.END)[0].strip()
    assert written == script.listed(), "python benchmarks/networks_table.py --write"


def test_every_network_has_a_row(script: ModuleType) -> None:
    assert [entry.name for entry in script.entries()] == [*REFERENCES, *STRUCTURES]
