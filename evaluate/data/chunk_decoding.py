"""Decodes files of images to chunks on disk, in parallel processes, resumable after a kill.

A chunk has two files: `NNNNNN.npy` with the pixels of readable files, and `NNNNNN.json` with a
report. Both are written under another name and then renamed, the report last: a chunk with a
report is complete. This module does not import torch, as every decoding process imports it.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data.decoding import Unreadable, decode_with_mode
from nas_sv2.evaluate.data.split import mirror_keys
from nas_sv2.files import write_whole

CHUNK = 256  # files; a kill loses about a second of work in each process
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """The report on the files of a chunk.

    Attributes:
        channels: Channels of the stored pixels: 1 if all files are grey, else 3.
        rows: Places in the chunk of the files that were read, in the order of the pixels.
        keys: Key of each file that was read, in hexadecimal, equal for copies.
        modes: Number of files by Pillow's name of their mode.
        faults: Place and reason of each file that was not read.
    """

    channels: int
    rows: list[int]
    keys: list[str]
    modes: dict[str, int]
    faults: list[tuple[int, str]]


def decode_files(
    files: Sequence[Path], side: int, folder: Path, progress: Progress | None = None
) -> list[ChunkReport]:
    """Decode the chunks of `files` that `folder` lacks, and return the reports of all.

    Args:
        files: Files in order.
        side: Side of the decoded images, in pixels.
        folder: Folder of the chunks.
        progress: Function called with the number of decoded files and of all files.

    Raises:
        EvaluationError: If a decoding process was killed.
        OSError: If a chunk cannot be written.
    """
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    missing = [number for number in range(len(chunks)) if not report_file(folder, number).exists()]
    done = len(files) - sum(len(chunks[number]) for number in missing)
    tell = progress or (lambda done, total: None)
    tell(done, len(files))
    processes = min(len(os.sched_getaffinity(0)), len(missing))
    if processes > 1:
        for number in _in_processes(processes, missing, chunks, side, folder):
            done += len(chunks[number])
            tell(done, len(files))
    else:  # starting a process for one chunk would take longer than the work
        for number in missing:
            decode_chunk(folder, number, chunks[number], side)
            done += len(chunks[number])
            tell(done, len(files))
    return [_read_report(folder, number) for number in range(len(chunks))]


def _in_processes(
    processes: int, missing: list[int], chunks: list[Sequence[Path]], side: int, folder: Path
) -> Any:
    """Decode the missing chunks, and yield the number of each as it is finished."""
    # Spawned, because a fork of a process with threads of torch may deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)
    try:
        work = {
            pool.submit(decode_chunk, folder, number, chunks[number], side): number
            for number in missing
        }
        for future in as_completed(work):
            future.result()
            yield work.pop(future)
    except BrokenProcessPool as error:
        raise EvaluationError(
            "a process that decodes images was killed (for lack of memory?); "
            "run it again to continue"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the parent process, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def decode_chunk(folder: Path, number: int, files: Sequence[Path], side: int) -> None:
    """Decode the files of one chunk into `folder`.

    Raises:
        OSError: If the chunk cannot be written.
    """
    images: dict[int, NDArray[np.uint8]] = {}
    modes: Counter[str] = Counter()
    faults = []
    for row, file in enumerate(files):
        try:
            images[row], mode = decode_with_mode(file, side)
            modes[mode] += 1
        except Unreadable as fault:
            faults.append((row, str(fault)))
    channels = max((len(image) for image in images.values()), default=1)
    stacked = np.empty((len(images), channels, side, side), np.uint8)
    keys = []
    for slot, image in zip(stacked, images.values(), strict=True):
        slot[:] = image  # a grey image fills all channels
        keys.append(mirror_keys(image[None])[0].hex())
    report = ChunkReport(channels, list(images), keys, dict(modes), faults)
    write_whole(pixel_file(folder, number), lambda file: np.save(file, stacked), sync=True)
    text = json.dumps(asdict(report)).encode()
    write_whole(report_file(folder, number), text, sync=True)


def pixel_file(folder: Path, number: int) -> Path:
    """Return the path of a chunk's pixels, uint8 (N, C, side, side)."""
    return folder / f"{number:06}.npy"


def report_file(folder: Path, number: int) -> Path:
    """Return the path of a chunk's report, which is written after the pixels."""
    return folder / f"{number:06}.json"


def _read_report(folder: Path, number: int) -> ChunkReport:
    fields = json.loads(report_file(folder, number).read_text())
    faults = [(row, reason) for row, reason in fields.pop("faults")]
    return ChunkReport(**fields, faults=faults)
