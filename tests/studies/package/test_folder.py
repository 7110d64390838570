"""The folder: whole or not there, and nothing outside it is ever read."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.studies.package import folder as package_folder
from nas_sv2.studies.package.build import export_trial
from nas_sv2.studies.package.detector_export import export_detector_trial
from nas_sv2.studies.package.folder import SUMS, check_out, read_folder, write_folder

CONTENTS = {"a.txt": b"one", "b.bin": bytes(range(256)), "c.txt": b""}


def test_what_was_written_is_read_and_sha256sum_agrees(tmp_path: Path) -> None:
    out = tmp_path / "new" / "winner"
    write_folder(out, CONTENTS)
    assert read_folder(out) == CONTENTS
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["winner"]
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=out, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_relative_folder_and_the_working_folder_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("winner"), CONTENTS)
    assert read_folder(Path("winner")) == CONTENTS
    monkeypatch.chdir(tmp_path / "winner")
    write_folder(Path("."), CONTENTS)
    assert read_folder(tmp_path / "winner") == CONTENTS


def test_a_folder_is_written_over_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "w", CONTENTS)
    (tmp_path / "w" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="force"):
        check_out(tmp_path / "w", force=False)
    check_out(tmp_path / "w", force=True)
    write_folder(tmp_path / "w", {"a.txt": b"two"})
    assert read_folder(tmp_path / "w") == {"a.txt": b"two"}
    assert {path.name for path in (tmp_path / "w").iterdir()} == {"a.txt", "notes.txt", SUMS}
    with pytest.raises(ConfigError, match="out must"):
        check_out(tmp_path / "w" / "a.txt", force=True)


@pytest.mark.parametrize("name", ["a.txt", SUMS])
def test_a_pipe_is_refused_and_not_waited_on(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "w", CONTENTS)
    (tmp_path / "w" / name).unlink()
    os.mkfifo(tmp_path / "w" / name)
    with pytest.raises(ConfigError, match="plain file"):
        read_folder(tmp_path / "w")


@pytest.mark.parametrize("there", [False, True])
def test_what_fails_half_way_leaves_nothing_half_written(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "w"
    if there:
        write_folder(out, {"a.txt": b"before"})
    write, written = package_folder._write, []

    def fails(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(package_folder, "_write", fails)
    with pytest.raises(StoreError, match="No space left"):
        write_folder(out, CONTENTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["w"] if there else [])
    if there:
        assert read_folder(out) == {"a.txt": b"before"}


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from nas_sv2.studies.package import folder\n"
        "write = folder._write\n"
        "folder._write = lambda path, content: (write(path, content), "
        "os.kill(os.getpid(), signal.SIGKILL))\n"
        "folder.write_folder(Path(sys.argv[1]), {'a.txt': b'one', 'b.txt': b'two'})\n"
    )
    out = tmp_path / "w"
    done = subprocess.run([sys.executable, "-c", script, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists() and len(os.listdir(tmp_path)) == 1
    write_folder(out, CONTENTS)
    assert os.listdir(tmp_path) == ["w"]


def test_one_that_was_killed_while_it_replaced_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "w", CONTENTS)

    class Killed(BaseException): ...

    def killed(source: Path, target: Path) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "replace", killed)
        write_folder(tmp_path / "w", {"a.txt": b"two"})
    with pytest.raises(ConfigError, match=SUMS):
        read_folder(tmp_path / "w")
    write_folder(tmp_path / "w", {"a.txt": b"two"})
    assert read_folder(tmp_path / "w") == {"a.txt": b"two"}


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub/a.txt", "..", ".hidden", "a b", SUMS, "a\\b", ""]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    write_folder(folder, CONTENTS)
    (tmp_path / "secret").write_bytes(b"one")
    digest = hashlib.sha256(b"one").hexdigest()
    (folder / SUMS).write_text(f"{digest}  {name}\n")
    with pytest.raises(ConfigError, match="nothing outside the folder"):
        read_folder(folder)


def test_links_are_not_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "w", CONTENTS)
    (tmp_path / "secret").write_bytes(b"one")
    (tmp_path / "w" / "a.txt").unlink()
    (tmp_path / "w" / "a.txt").symlink_to(tmp_path / "secret")  # its checksum is right
    with pytest.raises(ConfigError, match="no links"):
        read_folder(tmp_path / "w")


def test_a_changed_or_missing_file_is_found(tmp_path: Path) -> None:
    write_folder(tmp_path / "w", CONTENTS)
    content = bytearray(CONTENTS["b.bin"])
    content[100] ^= 1
    (tmp_path / "w" / "b.bin").write_bytes(content)
    with pytest.raises(StoreError, match=r"b\.bin is not the exported file"):
        read_folder(tmp_path / "w")
    (tmp_path / "w" / "b.bin").unlink()
    with pytest.raises(StoreError, match=r"b\.bin cannot be read"):
        read_folder(tmp_path / "w")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * (2 << 20)])
def test_a_folder_without_a_list_is_no_package(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / SUMS).write_bytes(content)
    with pytest.raises(ConfigError, match="folder"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("trial", "out", "sentence"),
    [
        ("last", "x", "trial must be best or a number; got 'last'"),
        pytest.param("9" * 5000, "x", "trial must be best or a number; got '999", id="long"),
        ("best", "taken", "out must name a folder that does not exist yet .*; got '.*taken'"),
    ],
)
def test_an_export_is_refused_before_its_study_is_read(
    trial: str, out: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    with Database.open(f"sqlite:///{tmp_path / 's.db'}") as db:
        with pytest.raises(ConfigError, match=sentence):
            export_trial(db, "study", trial, tmp_path / out, force=False, notify=print)
        with pytest.raises(ConfigError, match=sentence):
            export_detector_trial(
                *(db, "study", trial, tmp_path / out),
                force=False,
                time=False,
                data=None,
                notify=print,
            )


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="only Linux has /proc")
@pytest.mark.parametrize("out", ["/proc/x", "/dev/null/x", "/proc/self/a/b", "/sys/x"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(out: str) -> None:
    with pytest.raises(ConfigError, match="out must be in a folder that can be written to"):
        check_out(Path(out), force=False)
