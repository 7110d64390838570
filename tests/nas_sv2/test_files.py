"""A file is the old one or the new one, whatever happens while it is written."""

from pathlib import Path
from typing import IO

import pytest

from nas_sv2.files import write_whole


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path, sync: bool) -> None:
    file, link = tmp_path / "a", tmp_path / "link"
    write_whole(file, b"one", sync=sync)
    file.chmod(0o600)
    link.symlink_to(file)
    write_whole(link, lambda opened: opened.write(b"two"), sync=sync)
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert {each.name for each in tmp_path.iterdir()} == {"a", "link"}


def test_a_fault_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_whole(file, b"one")

    def fail(opened: IO[bytes]) -> None:
        opened.write(b"tw")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_whole(file, fail)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a", b"one")]
