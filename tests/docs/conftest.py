"""The folder in which the lines of the documentation run."""

import shutil
from pathlib import Path

import pytest
import sandbox


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study of two networks and `winner`, the better one exported."""
    folder = tmp_path_factory.mktemp("sandbox")
    sandbox.fill(folder)
    return folder


@pytest.fixture
def here(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder of the test's own, in which it runs."""
    folder = tmp_path / "here"
    shutil.copytree(filled, folder)
    shutil.copytree(folder / "winner", folder / "trained")
    monkeypatch.chdir(folder)
    return folder
