"""Images decoded once: kept, resumed, shared, and refused where there is no room."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data import chunk_decoding, image_cache
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_cache import ImageCache, all_caches, bytes_needed
from nas_sv2.evaluate.data.image_listing import list_images

Folder = Callable[..., Path]
PROGRAM = "import sys; from nas_sv2.cli import main; sys.argv[0] = 'nas-sv2'; main()"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Several chunks from few images, decoded here and one after the other."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(chunk_decoding, "CHUNK", 4)
    monkeypatch.setattr(image_cache, "CHUNK", 4)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)


def cache_of(root: Path) -> ImageCache:
    return ImageCache.of(list_images(f"imagefolder:{root}"), 32)


def decoded(monkeypatch: pytest.MonkeyPatch, *, killed_at: int | None = None) -> list[int]:
    """The numbers of the chunks that are decoded from now on; one of them ends it."""
    numbers: list[int] = []
    whole = chunk_decoding.decode_chunk

    def decode_chunk(folder: Path, number: int, *rest: object) -> None:
        if number == killed_at:
            raise KeyboardInterrupt
        numbers.append(number)
        whole(folder, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(chunk_decoding, "decode_chunk", decode_chunk)
    return numbers


def test_images_are_decoded_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder()
    numbers = decoded(monkeypatch)
    first, again = (open_data(f"imagefolder:{root}") for _ in range(2))
    assert numbers == [0, 1, 2, 3, 4]
    assert first.key == again.key
    assert torch.equal(first.val.images, again.val.images)
    assert {file.name for file in cache_of(root).folder.iterdir()} == {
        *("data.json", "root", "lock"),
        *("train.pixels", "train.labels", "val.pixels", "val.labels"),
    }


def test_a_cache_of_an_older_version_is_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names a side, because all images were squares, and what nothing reads."""
    root = folder()
    first = open_data(f"imagefolder:{root}")
    facts = cache_of(root).folder / "data.json"
    held = json.loads(facts.read_text())
    held |= {"side": held.pop("resolution"), "carved": True}
    facts.write_text(json.dumps(held))
    numbers = decoded(monkeypatch)
    again = open_data(f"imagefolder:{root}")
    assert (again.key, again.resolution, numbers) == (first.key, 32, [])


@pytest.mark.parametrize("change", ["another", "one less", "touched", "renamed"])
def test_a_changed_folder_is_decoded_anew(change: str, folder: Folder) -> None:
    root = folder()
    before = cache_of(root).folder
    file = root / "cat" / "3.png"
    match change:
        case "another":
            shutil.copy(file, root / "cat" / "new.png")
        case "one less":
            file.unlink()
        case "touched":
            os.utime(file, ns=(0, 1))
        case "renamed":
            file.rename(root / "cat" / "new.png")
    assert cache_of(root).folder != before


def test_what_was_interrupted_goes_on_where_it_was(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder()
    whole = open_data(f"imagefolder:{folder('whole')}")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        decoded(patch, killed_at=3)
        open_data(f"imagefolder:{root}")
    assert cache_of(root).read() is None
    numbers = decoded(monkeypatch)
    assert open_data(f"imagefolder:{root}").key == whole.key
    assert numbers == [3, 4]


@pytest.mark.parametrize("chunk", range(5))
@pytest.mark.parametrize("appended", [False, True])
def test_what_was_interrupted_while_parts_are_joined_goes_on(
    chunk: int, appended: bool, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill comes before a chunk is appended, or after but before it is removed."""
    root = folder()
    whole = open_data(f"imagefolder:{folder('whole')}")
    unlink, load = Path.unlink, np.load

    def killed_before_removal(path: Path, *rest: object, **options: bool) -> None:
        if appended and path.name == f"{chunk:06}.npy":
            raise KeyboardInterrupt
        unlink(path, *rest, **options)  # type: ignore[arg-type]

    def killed_before_reading(path: Path) -> object:
        if not appended and path.name == f"{chunk:06}.npy":
            raise KeyboardInterrupt
        return load(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed_before_removal)
        patch.setattr(np, "load", killed_before_reading)
        open_data(f"imagefolder:{root}")
    assert open_data(f"imagefolder:{root}").key == whole.key


def test_a_disk_without_room_is_told_before_it_starts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = decoded(monkeypatch)
    usage = namedtuple("usage", "total used free")
    needed = bytes_needed(20, 32)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, needed // 2))
    with pytest.raises(EvaluationError, match=r"20 images at 32×32 need up to \d+ kB .* are free"):
        open_data(f"imagefolder:{folder()}")
    assert numbers == []


def test_a_disk_that_fills_meanwhile_is_told_and_gone_on_with(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder()
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "000002.npy":
            raise OSError(28, "No space left on device")
        replace(source, target)

    with (
        monkeypatch.context() as patch,
        pytest.raises(EvaluationError, match="is full; make room"),
    ):
        patch.setattr(os, "replace", full)
        open_data(f"imagefolder:{root}")
    assert not list(cache_of(root).folder.rglob("*.part"))
    assert len(open_data(f"imagefolder:{root}").train) == 16


def test_a_cache_that_cannot_be_written_is_told(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EvaluationError, match="XDG_CACHE_HOME"):
        open_data(f"imagefolder:{folder()}")


@pytest.mark.parametrize("file", ["train.pixels", "val.labels", "data.json"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_damaged_cache_is_refused_or_made_again(file: str, gone: bool, folder: Folder) -> None:
    root = folder()
    key = open_data(f"imagefolder:{root}").key
    path = cache_of(root).folder / file
    content = path.read_bytes()
    path.unlink() if gone else path.write_bytes(content[:-1])
    if file == "data.json" and gone:
        return
    with pytest.raises(EvaluationError, match="nas-sv2 data clear"):
        open_data(f"imagefolder:{root}")
    for cache in all_caches():
        cache.clear()
    assert open_data(f"imagefolder:{root}").key == key


def test_several_processes_decode_the_same(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder()
    alone = open_data(f"imagefolder:{root}")
    cache_of(root).clear()
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    told: list[tuple[int, int]] = []
    together = open_data(
        f"imagefolder:{root}", progress=lambda done, total: told.append((done, total))
    )
    assert together.key == alone.key
    assert told == [(done, 20) for done in range(0, 21, 4)]


def many(tmp_path: Path, count: int) -> Path:
    """Images that take a few milliseconds each to decode."""
    for label in ("a", "b"):
        (tmp_path / "many" / label).mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).resize((500, 500))
        image.save(tmp_path / "many" / "ab"[number % 2] / f"{number}.png", compress_level=1)
    return tmp_path / "many"


def prepare(root: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "data", "prepare", f"imagefolder:{root}", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_process_leaves_no_children_and_another_two_go_on_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = many(tmp_path, 5 * chunk_decoding.CHUNK // 2)
    killed = prepare(root)
    chunks = cache_of(root).folder / "chunks"
    deadline = time.monotonic() + 60
    while not list(chunks.glob("*.json")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    stamps = {file: file.stat().st_mtime_ns for file in chunks.glob("*.json")}
    assert 1 <= len(stamps) <= 2
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    both = [prepare(root), prepare(root)]
    answers = [each.communicate(timeout=60) for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert answers[0][0] == answers[1][0]
    assert any("waiting for it" in err for _, err in answers)
