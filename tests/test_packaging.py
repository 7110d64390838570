import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ["search", "space", "latency", "evaluate", "studies"]
DATA = {".json", ".yaml", ".c", ".h", ".csv", ".css", ".j2", ".js"}


def packages() -> dict[str, Path]:
    """The package of each folder of the tree that holds an `__init__.py`."""
    own = [path.parent for path in (ROOT / "nas_sv2").rglob("__init__.py")]
    rooms = [path.parent for name in FOLDERS for path in (ROOT / name).rglob("__init__.py")]
    named = {".".join(path.relative_to(ROOT).parts): path for path in own}
    return named | {f"nas_sv2.{'.'.join(p.relative_to(ROOT).parts)}": p for p in rooms}


def shipped() -> set[str]:
    """Every file of the tree that belongs in a wheel, by its path there."""
    return {
        "/".join([*package.split("."), file.name])
        for package, folder in packages().items()
        for file in folder.iterdir()
        if file.suffix in DATA | {".py"} or file.name == "py.typed"
    }


def test_every_room_is_packaged_and_every_folder_linked() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    mapping = {"nas_sv2": "nas_sv2", **{f"nas_sv2.{name}": name for name in FOLDERS}}
    assert setup["package-dir"] == mapping
    assert setup["packages"] == sorted(packages())
    assert {f"*{suffix}" for suffix in DATA} | {"py.typed"} == set(setup["package-data"]["*"])
    for name in FOLDERS:
        assert (ROOT / "nas_sv2" / name).samefile(ROOT / name)


def test_every_folder_with_code_is_a_room() -> None:
    code = {path.parent for name in [*FOLDERS, "nas_sv2"] for path in (ROOT / name).rglob("*.py")}
    assert code == set(packages().values())


def test_a_room_has_at_most_18_files() -> None:
    sizes = {name: len([*folder.glob("*.py")]) - 1 for name, folder in packages().items()}
    assert {name: size for name, size in sizes.items() if size > 18} == {}


@pytest.mark.slow
def test_a_wheel_made_from_the_sdist_adds_only_nas_sv2_and_holds_every_file(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, "-m", "build", "-o", str(tmp_path)], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"nas_sv2"}
    assert shipped() <= set(names)


@pytest.mark.slow
def test_an_editable_install_finds_every_room_in_the_tree(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    python = str(tmp_path / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "-e", ROOT], check=True)
    code = (
        "from importlib.util import find_spec\n"
        f"for name in {sorted(packages())!r}: print(find_spec(name).origin)"
    )
    asked = subprocess.run(
        [python, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    found = {Path(line).resolve().parent for line in asked.stdout.splitlines()}
    assert found == set(packages().values())
