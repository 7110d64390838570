"""A disk that fills up in the middle of a search: a small one, mounted for the test alone."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mounts import own_mounts

FULL_DISK = Path(__file__).parents[2] / "stand_ins" / "full_disk.py"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["database", "weights"])
def test_nothing_is_lost_on_a_full_disk(what: str, tmp_path: Path) -> None:
    way = own_mounts()
    if way is None:
        pytest.skip("no disk can be mounted: neither as root nor in a user namespace")
    disk, folder = tmp_path / "disk", tmp_path / "folder"
    disk.mkdir()
    folder.mkdir()
    mount = shlex.join(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)])
    script = shlex.join([sys.executable, str(FULL_DISK), what, str(disk), str(folder)])
    done = subprocess.run(
        [*way, "sh", "-c", f"{mount} && exec {script}"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
