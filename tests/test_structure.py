"""Functions read as their steps, and files have one reason to change."""

import ast
from collections.abc import Iterator
from functools import cache
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


@cache
def nodes_of(text: str) -> list[ast.AST]:
    """The syntax of a file, which three tests look at."""
    return list(ast.walk(ast.parse(text)))


def dotted(node: ast.expr) -> str:
    """The name that is called, such as `os.replace`; `().close` of what a call gave."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "()"


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
        for node in nodes_of(text)
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
    ends_them = {"browser.py", "worker_group.py", "running.py", Path(__file__).name}
    waits = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if "with subprocess.Popen(" in path.read_text(encoding="utf-8")
    ]
    assert set(waits) <= ends_them


# Each place that writes a file otherwise than by `nas_sv2/files.py`, and why it may.
WRITERS = {
    "nas_sv2/files.py: open",  # here files become whole
    "nas_sv2/files.py: os.replace",
    "latency/agent/agent.py: os.fdopen",  # a copy of standard output, on the device
    "latency/agent/ncnn_run.py: open",  # weights on the device, read at once
    "latency/calibration/workshop.py: touch",  # empty marks
    "latency/calibration/guest.py: open",  # on the emulated core, into a folder of a run
    "latency/calibration/guest.py: tempfile.NamedTemporaryFile",  # weights that ncnn reads at once
    "evaluate/data/image_cache.py: open",  # pixels, which count once data.json is there
    "evaluate/data/image_cache.py: touch",
    "evaluate/full/training_log.py: SummaryWriter",  # TensorBoard's own log
    "studies/package/folder.py: open",  # a folder that becomes whole
    "studies/package/folder.py: os.rename",
    "studies/package/folder.py: os.replace",
}
METHODS = {"write_text", "write_bytes", "touch", "SummaryWriter", "open_memmap"}
FUNCTIONS = {
    *(f"os.{name}" for name in ("replace", "rename", "link")),
    *(f"shutil.{name}" for name in ("copy", "copy2", "copyfile", "move")),
    *(f"tempfile.{name}" for name in ("mkstemp", "NamedTemporaryFile")),
    *("safetensors.torch.save_file", "save_file", "onnx.save", "onnx.save_model"),
}
INTO = {"savefig", "tofile", "np.save", "np.savez", "np.savez_compressed", "torch.save"}
"""Calls that write to one of their arguments, which has to be an open file."""
OPEN_FILES = {"file", "buffer", "own"}


def written(path: str, text: str) -> set[str]:
    """Name the calls of a file that write files."""
    return {f"{path}: {name}" for node in nodes_of(text) if (name := writer(node))}


def writer(node: ast.AST) -> str:
    """Name the call if it writes a file; else return nothing."""
    if not isinstance(node, ast.Call):
        return ""
    whole = dotted(node.func)
    last = whole.rpartition(".")[2]
    given = [*node.args, *(each.value for each in node.keywords)]
    words = {each.value for each in given if isinstance(each, ast.Constant)}
    if last in METHODS:
        return last
    if whole in FUNCTIONS:
        return whole
    if {whole, last} & INTO:
        return "" if OPEN_FILES & {ast.unparse(each) for each in given} else last
    modes = {word for word in words if isinstance(word, str) and set(word) <= set("rwaxbt+")}
    if last in ("open", "fdopen") and any(set(mode) & set("wax+") for mode in modes):
        return whole if last == "fdopen" else last
    return ""


def test_files_are_written_whole() -> None:
    found = {name for path, text in sources() for name in written(path, text)}
    assert found - WRITERS == set(), "write it with write_whole or write_out of nas_sv2/files.py"
    assert WRITERS - found == set(), "take these off the list"


def test_a_writer_is_found() -> None:
    lines = [
        "path.write_text(t)",
        "path.open('w')",
        "open(p, mode='ab')",
        "os.replace(a, b)",
        "figure.savefig(path)",
        "figure.savefig(file)",
        "open(p, 'rb')",
        "torch.save(file)",
    ]
    names = {"a.py: write_text", "a.py: open", "a.py: os.replace", "a.py: savefig"}
    assert written("a.py", "\n".join(lines)) == names


PRINTS = {
    # The program on the device, and the guest of the emulator: their output is a protocol.
    "latency/agent/agent.py",
    "latency/agent/host_facts.py",
    "latency/calibration/guest.py",
    "latency/devices/requirements.py",
    # A task on a node of a cluster; Ray sends it to the driver.
    "search/scale/cluster.py",
    "nas_sv2/show/terminal.py",
}


def test_everything_is_printed_in_one_place() -> None:
    for path, text in sources():
        called = {dotted(node.func) for node in nodes_of(text) if isinstance(node, ast.Call)}
        assert path in PRINTS or not called & {"print", "typer.echo", "click.echo"}, path
        taken = "from rich.console import Console" in text or "rich.print" in text
        assert not taken or path == "nas_sv2/show/console.py", path
        assert "rich.table" not in text or path == "nas_sv2/show/console.py", path


SEEDS = "torch.manual_seed"


def test_only_the_agent_seeds_every_generator_of_torch() -> None:
    """`torch.manual_seed` seeds the GPUs of the user's process too, which no fork restores."""
    seeding = {
        path
        for path, text in sources()
        if any(isinstance(n, ast.Call) and dotted(n.func) == SEEDS for n in nodes_of(text))
    }
    assert seeding == {"latency/agent/torch_run.py"}, "use torch.default_generator"
