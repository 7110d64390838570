"""A disk that fills up in the middle of a search: a small one, mounted for the test alone."""

import os
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

FULL_DISK = Path(__file__).parents[2] / "stand_ins" / "full_disk.py"


@cache
def own_mounts() -> tuple[str, ...] | None:
    """How a command is started that may mount what nobody else sees; None where it cannot be."""
    if shutil.which("unshare") is None:
        return None
    as_root, as_anyone = ("unshare", "--mount"), ("unshare", "--mount", "--map-root-user")
    for way in (as_root, as_anyone) if os.getuid() == 0 else (as_anyone,):
        command = [*way, "sh", "-c", "mount -t tmpfs -o size=64k none /tmp"]
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return way
    return None


@pytest.mark.slow
@pytest.mark.parametrize("what", ["database", "weights"])
def test_a_full_disk_ends_the_search_and_nothing_is_lost(what: str, tmp_path: Path) -> None:
    way = own_mounts()
    if way is None:
        pytest.skip("no disk can be mounted: neither as root nor in a user namespace")
    disk, folder = tmp_path / "disk", tmp_path / "folder"
    disk.mkdir()
    folder.mkdir()
    mount = shlex.join(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)])
    script = shlex.join([sys.executable, str(FULL_DISK), what, str(disk), str(folder)])
    done = subprocess.run(
        [*way, "sh", "-c", f"{mount} && exec {script}"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
