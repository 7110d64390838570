"""A search whose disk fills up.

Without space for the database it ends, and goes on once there is some. Without space for weights
alone it goes on, and says so.

    unshare --mount sh -c 'mount -t tmpfs -o size=8m none DISK && exec python full_disk.py ...'

    full_disk.py database|weights DISK FOLDER

The database, or the weights of a database in FOLDER, lie on DISK, a small one of our own. Its exit
code is 0 if all held.
"""

import errno
import sys
from pathlib import Path

from worker_group import FINISHED, check, finish, worker_group

TRIALS = 10
WEIGHTS_BYTES = 100_000


def fill(ballast: Path) -> None:
    """Take what space there is, to the last byte."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error


def fill_database(disk: Path) -> None:
    """Fill the disk of a database in the middle of a search, and free it again."""
    storage, ballast = f"sqlite:///{disk / 'studies.db'}", disk / "ballast"
    with worker_group(storage, TRIALS, 2, weights_bytes=WEIGHTS_BYTES) as found:
        found.until(lambda: found.finished >= 3)
        fill(ballast)
        assert found.over(120) == 0  # the program's own code: it came to an end in order
    told = found.told[-1]["errors"]
    assert 1 <= len(told) <= 2, found.told
    for line in told:
        assert "disk is full" in line or "No space left on device" in line, line
        assert "\n" not in line and len(line) < 200, line
    before = found.finished
    assert 3 <= before < TRIALS

    # Still no space: it ends at once, in the same words.
    with worker_group(storage, TRIALS, 1, weights_bytes=WEIGHTS_BYTES) as found:
        assert found.over(120) == 0
    assert found.finished == 0
    (line,) = found.told[-1]["errors"]
    assert "disk is full" in line or "No space left on device" in line, line

    ballast.unlink()
    found = finish(storage, TRIALS, weights_bytes=WEIGHTS_BYTES)
    assert found.told[-1] == FINISHED
    assert found.finished == TRIALS - before
    check(storage, TRIALS)


def fill_weights(disk: Path, database: Path) -> None:
    """Fill the disk of the weights alone."""
    Path(f"{database}.weights").symlink_to(disk)
    storage = f"sqlite:///{database}"
    with worker_group(storage, TRIALS, 2, weights_bytes=WEIGHTS_BYTES) as found:
        found.until(lambda: found.finished >= 3)
        fill(disk / "ballast")
        assert found.over(120) == 0
    assert found.told[-1] == FINISHED
    assert found.finished == TRIALS
    assert any("weights cannot be saved" in line for line in found.waits), found.waits
    check(storage, TRIALS)


def main(what: str, disk: Path, folder: Path) -> None:
    """Fill the disk of `what`: all files are whole."""
    fill_database(disk) if what == "database" else fill_weights(disk, folder / "studies.db")
    parts = [file for file in disk.rglob("*") if file.suffix == ".part"]
    assert parts == []


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
