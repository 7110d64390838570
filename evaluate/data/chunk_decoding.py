"""Files of images to chunks of pixels on disk, in parallel processes, resumable after a kill.

A chunk is `NNNNNN.npy`, the pixels of what could be read, and `NNNNNN.json`, what was met. Both
are written under another name and then renamed, the report last: where it stands, the chunk does.
Nothing here imports torch, because every decoding process imports this.
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

CHUNK = 256  # files; what a kill loses in each process is about a second of work
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What was met in the files of a chunk.

    Attributes:
        channels: Of the stored pixels: 1 if all are grey, else 3.
        rows: Which files were read, by their place in the chunk; the pixels are in this order.
        keys: Of each that was read: what it shares with its copies, hexadecimal.
        modes: How many files were stored in which of Pillow's modes.
        faults: Place and reason of those that were not read.
    """

    channels: int
    rows: list[int]
    keys: list[str]
    modes: dict[str, int]
    faults: list[tuple[int, str]]


def decode_files(
    files: Sequence[Path], side: int, folder: Path, progress: Progress | None = None
) -> list[ChunkReport]:
    """The reports of all chunks of `files`; chunks that stand in `folder` are not decoded again.

    Args:
        files: In order.
        side: Of the decoded images, pixels.
        folder: Where chunks are kept.
        progress: Called with the files done and the files in all.

    Raises:
        EvaluationError: A decoding process was killed.
        OSError: A chunk cannot be written.
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
    else:  # for one chunk, starting a process would take longer than the work
        for number in missing:
            decode_chunk(folder, number, chunks[number], side)
            done += len(chunks[number])
            tell(done, len(files))
    return [_read_report(folder, number) for number in range(len(chunks))]


def _in_processes(
    processes: int, missing: list[int], chunks: list[Sequence[Path]], side: int, folder: Path
) -> Any:
    """Decode the missing chunks; yields the number of each when it is done."""
    # Spawned: a fork of a process in which torch has threads may never come to run.
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
            "a process that decodes images was killed (for want of memory?); "
            "the same command goes on where it was"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
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
        OSError: It cannot be written.
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
    """Where a chunk's pixels are, uint8 (N, C, side, side)."""
    return folder / f"{number:06}.npy"


def report_file(folder: Path, number: int) -> Path:
    """Where a chunk's report is; it is written after the pixels."""
    return folder / f"{number:06}.json"


def _read_report(folder: Path, number: int) -> ChunkReport:
    fields = json.loads(report_file(folder, number).read_text())
    faults = [(row, reason) for row, reason in fields.pop("faults")]
    return ChunkReport(**fields, faults=faults)
