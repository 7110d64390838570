"""Functions read as their steps, and files have one reason to change."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ["nas_sv2", "search", "space", "latency", "evaluate", "studies"]
MOST_LINES, MOST_FILE_LINES = 40, 600

LONG = {
    # A migration is a list of tables as they were on its day.
    "nas_sv2/database/migrations/versions/m0001_first_tables.py: upgrade",
}


def sources() -> Iterator[tuple[str, str]]:
    """Each file of the product by its path, once: `nas_sv2` also links to the other folders."""
    for name in FOLDERS:
        for path in sorted((ROOT / name).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body; the docstring, the name and the parameters do not count."""
    body = function.body
    has_docstring = ast.get_docstring(function) is not None and len(body) > 1
    first = body[1] if has_docstring else body[0]
    return (function.end_lineno or first.lineno) - first.lineno + 1


def long_functions(path: str, text: str) -> set[str]:
    """Name the functions of a file that are too long."""
    return {
        f"{path}: {node.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > MOST_LINES
    }


def test_functions_are_short() -> None:
    found = {name for path, text in sources() for name in long_functions(path, text)}
    assert found - LONG == set(), f"split them by their steps: at most {MOST_LINES} lines"
    assert LONG - found == set(), "take these off the list"


def test_a_long_function_is_found_without_its_docstring() -> None:
    lines = ["def f(", "    a,", "):", '    """Say', "", '    it."""', *["    a"] * MOST_LINES]
    assert long_functions("a.py", "\n".join(lines)) == set()
    assert long_functions("a.py", "\n".join([*lines, "    a"])) == {"a.py: f"}


def test_files_are_short() -> None:
    sizes = {path: len(text.splitlines()) for path, text in sources()}
    assert len(sizes) > 100
    assert {path: size for path, size in sizes.items() if size > MOST_FILE_LINES} == {}


def test_what_a_test_starts_is_gone_where_it_fails() -> None:
    """`with Popen` alone waits for its end, also of one that nobody ends any more."""
    ends_them = {"browser.py", "crews.py", "running.py", Path(__file__).name}
    waits = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if "with subprocess.Popen(" in path.read_text(encoding="utf-8")
    ]
    assert set(waits) <= ends_them
