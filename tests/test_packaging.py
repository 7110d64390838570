import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ["search", "space", "latency", "evaluate", "studies", "migrations"]


def test_every_folder_is_packaged_and_linked() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    mapping = {"nas_sv2": "nas_sv2", **{f"nas_sv2.{name}": name for name in FOLDERS}}
    assert setup["package-dir"] == mapping
    assert setup["packages"] == list(mapping)
    for name in FOLDERS:
        assert (ROOT / "nas_sv2" / name).samefile(ROOT / name)
        assert not [
            p for p in (ROOT / name).iterdir() if p.is_dir() and (p / "__init__.py").exists()
        ]


@pytest.mark.slow
def test_a_wheel_adds_only_nas_sv2_and_holds_every_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), "."]
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} <= {"nas_sv2"}
    for folder in FOLDERS:
        for file in (ROOT / folder).iterdir():
            if file.suffix in {".py", ".json", ".yaml", ".csv", ".css", ".j2", ".js"}:
                assert f"nas_sv2/{folder}/{file.name}" in names
