"""Decodes files of images to chunks on disk, in parallel processes, resumable after a kill.

A chunk has two files: `NNNNNN.npy` with the pixels of readable files, and `NNNNNN.json` with a
report. Both are written under another name and then renamed, the report last: a chunk with a
report is complete. This module does not import torch, as every decoding process imports it.

Levels of more than 8 bits are scaled by the range of the whole data set, which is known once all
files were read. Chunks with such levels are decoded again if the range is not `USUAL_WHITE`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nas_sv2.evaluate.data.decoding import Unreadable, decode, full_level
from nas_sv2.evaluate.data.split import mirror_keys
from nas_sv2.files import write_whole
from nas_sv2.process_pool import in_processes
from nas_sv2.resolution import Resolution, height_and_width

CHUNK = 256  # files; a kill loses about a second of work in each process
Progress = Callable[[int, int], None]
USUAL_WHITE = {"integer": 65535.0, "float": 1.0, "colour": 65535.0}


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """The report on the files of a chunk.

    Attributes:
        channels: Channels of the stored pixels: 1 if all files are grey, else 3.
        rows: Places in the chunk of the files that were read, in the order of the pixels.
        keys: Key of each file that was read, in hexadecimal, equal for copies.
        modes: Number of files by Pillow's name of their mode.
        aspects: `decoding.Decoded.aspect` of each file that was read.
        shorter_side: Largest of the shorter sides of these files, pixels; 0 without a file.
        highest: Highest of the levels of more than 8 bits, by their kind.
        white: Level that became 255, by kind.
        faults: Place and reason of each file that was not read.
    """

    channels: int
    rows: list[int]
    keys: list[str]
    modes: dict[str, int]
    aspects: list[float]
    shorter_side: int
    highest: dict[str, float]
    white: dict[str, float]
    faults: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How files become chunks.

    Attributes:
        files: Files in order.
        resolution: Resolution of the decoded images, in pixels.
        fit: How a picture takes the shape of the images: one of `decoding.FITS`.
        folder: Folder of the chunks.
    """

    files: Sequence[Path]
    resolution: Resolution
    fit: str
    folder: Path

    def chunk(self, number: int) -> Sequence[Path]:
        """The files of a chunk."""
        return self.files[number * CHUNK : (number + 1) * CHUNK]

    def reports(self, progress: Progress | None = None) -> list[ChunkReport]:
        """Decode the chunks that the folder lacks, and return the reports of all.

        Args:
            progress: Function called with the number of decoded files and of all files.

        Raises:
            EvaluationError: If a decoding process was killed.
            OSError: If a chunk cannot be written.
        """
        numbers = range(0, -(-len(self.files) // CHUNK))
        missing = [n for n in numbers if not report_file(self.folder, n).exists()]
        self._decode(missing, USUAL_WHITE, progress)
        reports = [_read_report(self.folder, number) for number in numbers]
        white = white_levels(reports)
        other = [n for n in numbers if reports[n].white != _among(white, reports[n].highest)]
        if other:
            self._decode(other, white, progress)
        for number in other:
            reports[number] = _read_report(self.folder, number)
        return reports

    def _decode(
        self, numbers: Sequence[int], white: Mapping[str, float], progress: Progress | None
    ) -> None:
        from joblib import cpu_count  # of the quota too; takes long to load for a process of ours

        tell = progress or (lambda done, total: None)
        done = len(self.files) - sum(len(self.chunk(number)) for number in numbers)
        tell(done, len(self.files))
        chunks = [(number, self.chunk(number)) for number in numbers]
        work = partial(_decode, self.folder, self.resolution, self.fit, white)
        processes = min(cpu_count(), len(numbers))
        together = in_processes(work, chunks, processes, "decodes images")
        # Starting a process for one chunk would take longer than the work.
        decoded = map(work, chunks) if processes <= 1 else (count for _, count in together)
        for count in decoded:
            done += count
            tell(done, len(self.files))


def highest_levels(reports: Iterable[ChunkReport]) -> dict[str, float]:
    """Return the highest of the levels of more than 8 bits, by their kind."""
    highest: dict[str, float] = {}
    for report in reports:
        for kind, level in report.highest.items():
            highest[kind] = max(level, highest.get(kind, 0.0))
    return highest


def white_levels(reports: Iterable[ChunkReport]) -> dict[str, float]:
    """Return the level that counts as white in the whole data set, by kind of levels."""
    return {kind: full_level(kind, level) for kind, level in highest_levels(reports).items()}


def _among(white: Mapping[str, float], kinds: Iterable[str]) -> dict[str, float]:
    return {kind: white[kind] for kind in kinds}


def _decode(
    folder: Path,
    resolution: Resolution,
    fit: str,
    white: Mapping[str, float],
    chunk: tuple[int, Sequence[Path]],
) -> int:
    """Decode the files of a numbered chunk, and return their number."""
    number, files = chunk
    decode_chunk(folder, number, files, resolution, fit, white)
    return len(files)


def decode_chunk(
    folder: Path,
    number: int,
    files: Sequence[Path],
    resolution: Resolution,
    fit: str,
    white: Mapping[str, float],
) -> None:
    """Decode the files of one chunk into `folder`.

    Args:
        folder: Folder of the chunks.
        number: Number of the chunk.
        files: Its files.
        resolution: Resolution of the decoded images, in pixels.
        fit: One of `decoding.FITS`.
        white: Level that becomes 255, by kind of levels.

    Raises:
        OSError: If the chunk cannot be written.
    """
    decoded, faults = {}, []
    for row, file in enumerate(files):
        try:
            decoded[row] = decode(file, resolution, fit, white)
        except Unreadable as fault:
            faults.append((row, str(fault)))
    read = list(decoded.values())
    highest: dict[str, float] = {}
    for kind, level in filter(None, (each.levels for each in read)):
        highest[kind] = max(level, highest.get(kind, 0.0))
    channels = max((len(each.pixels) for each in read), default=1)
    stacked = np.empty((len(read), channels, *height_and_width(resolution)), np.uint8)
    for slot, each in zip(stacked, read, strict=True):
        slot[:] = each.pixels  # a grey image fills all channels
    report = ChunkReport(
        channels=channels,
        rows=list(decoded),
        keys=[mirror_keys(each.pixels[None])[0].hex() for each in read],
        modes=dict(Counter(each.mode for each in read)),
        aspects=[round(each.aspect, 2) for each in read],
        shorter_side=max((each.shorter_side for each in read), default=0),
        highest=highest,
        white=_among(white, highest),
        faults=faults,
    )
    write_whole(pixel_file(folder, number), lambda file: np.save(file, stacked), sync=True)
    text = json.dumps(asdict(report)).encode()
    write_whole(report_file(folder, number), text, sync=True)


def pixel_file(folder: Path, number: int) -> Path:
    """Return the path of a chunk's pixels, uint8 (N, C, H, W)."""
    return folder / f"{number:06}.npy"


def report_file(folder: Path, number: int) -> Path:
    """Return the path of a chunk's report, which is written after the pixels."""
    return folder / f"{number:06}.json"


def _read_report(folder: Path, number: int) -> ChunkReport:
    fields = json.loads(report_file(folder, number).read_text())
    faults = [(row, reason) for row, reason in fields.pop("faults")]
    return ChunkReport(**fields, faults=faults)
