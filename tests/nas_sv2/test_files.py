"""A file is the old one or the new one, whatever happens while it is written."""

import os
import socket
import tracemalloc
from pathlib import Path
from typing import IO

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.files import (
    bytes_below,
    checked_out,
    made_folder,
    making_folder,
    read_bounded,
    write_whole,
)


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


def test_a_file_within_its_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_bounded(tmp_path / "link", 4) == b"1234"
    assert read_bounded(Path("/proc/self/stat"), 1 << 16).startswith(b"%d " % os.getpid())


def test_what_is_no_file_or_too_large_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 60 << 30)
    (tmp_path / "five").write_bytes(b"12345")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        names = [
            ".",
            "pipe",
            "to_zero",
            "loop",
            "sparse",
            "five",
            "socket",
            "none",
            "a\0b",
            "x" * 300,
        ]
        for name in names:
            with pytest.raises(OSError) as refused:
                read_bounded(tmp_path / name, 4)
            assert refused.value.strerror, name


def test_nothing_is_read_of_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 60 << 30)
    tracemalloc.start()
    with pytest.raises(OSError, match="more than"):
        read_bounded(tmp_path / "sparse", 1 << 28)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="only Linux has /proc")
def test_a_folder_that_takes_no_file_is_refused_whatever_its_rights(tmp_path: Path) -> None:
    for check, path in (
        (checked_out, "/proc/a.png"),
        (made_folder, "/proc"),
        (checked_out, "/sys/a"),
    ):
        with pytest.raises(ConfigError, match="can be written to"):
            check(Path(path))
    assert checked_out(tmp_path / "a.png") == tmp_path / "a.png"
    assert made_folder(tmp_path / "a" / "b").is_dir()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def test_a_failure_leaves_no_empty_folder(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(KeyboardInterrupt), making_folder(kept / "a" / "b") as folder:
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert list(tmp_path.rglob("*")) == [kept]
    with pytest.raises(ConfigError), making_folder(kept / "a" / "b") as folder:
        (folder / "checkpoint").touch()
        raise ConfigError("data", "x", "must be there")
    assert (kept / "a" / "b" / "checkpoint").exists()
    with pytest.raises(ConfigError), making_folder(kept):
        raise ConfigError("data", "x", "must be there")
    assert kept.is_dir()


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "in" / "b").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert bytes_below(tmp_path) == 8
    assert bytes_below(tmp_path / "a") == 3
    assert bytes_below(tmp_path / "gone") == 0
