"""Measurements as a file of JSON lines, to move them between stores and to compare two.

The first line is a header. Every further line is a measurement with all its runs, as
`Measurement.to_json` writes it. A file may come from anywhere, so nothing of it is kept unless
every line is valid. Numbers are compared only between measurements of one key (network, device
and runtime, protocol). For others, the differences of device and protocol are listed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.files import new_file, open_regular, write_out
from nas_sv2.latency.measurements.fingerprint import differing
from nas_sv2.latency.measurements.measurement import READ_SCHEMAS, SCHEMA, Interval, Measurement
from nas_sv2.latency.measurements.measurement_check import read_measurement
from nas_sv2.latency.measurements.spread import apart
from nas_sv2.latency.measurements.store import Key, MeasurementStore
from nas_sv2.plain_data import parse_json

FILE = "nas_sv2_measurements"
FILE_VERSION = 1
LONGEST_LINE = 1 << 25
"""Longest line in bytes: a measurement has about 100 kB, and an endless line must not fill memory.
"""


@dataclass
class Counts:
    """Counts of the measurements of a source.

    Attributes:
        taken: Measurements written to a file, or added to a store.
        known: Measurements of the file that the store already had.
        skipped: Measurements of a database that have another version or are damaged.
    """

    taken: int = 0
    known: int = 0
    skipped: int = 0


def export_lines(store: MeasurementStore, counts: Counts) -> Iterator[str]:
    """Yield the lines of a file with the measurements of `store`, without line ends.

    Raises:
        StoreError: The database cannot be read.
    """
    yield json.dumps({FILE: FILE_VERSION, "measurement_schema": SCHEMA})
    for measurement in stored_measurements(store, counts):
        counts.taken += 1
        yield json.dumps(measurement.to_json())


def write_file(lines: Iterable[str], file: Path) -> None:
    """Write `lines` to a new file, whole.

    Raises:
        ConfigError: The file exists or cannot be written.
        StoreError: The disk is full or broken.
    """
    write_out(new_file(file), lambda out: out.writelines(f"{line}\n".encode() for line in lines))


def check_file(file: Path) -> None:
    """Check the header and first measurement of a file, before a database is made for it.

    Raises:
        ConfigError: The file cannot be read, or one of these lines is not valid.
    """
    next(read_file(file), None)


def merge(file: Path, store: MeasurementStore) -> Counts:
    """Add the measurements of a file that `store` lacks; add nothing if any line is damaged.

    A measurement is known if the store holds the same runs under its key and session.

    Raises:
        ConfigError: The file cannot be read or has no valid header, or a line is damaged or
            contradicts the store; the error names the line.
        StoreError: The database cannot be read or written.
    """
    counts = Counts()
    stored: dict[Key, dict[str, set[str]]] = {}
    added: set[str] = set()

    def missing() -> Iterator[Measurement]:
        for number, measurement in read_file(file):
            key, content = Key.of(measurement), _content(measurement)
            if key not in stored:
                stored[key] = _contents_by_session(store, key)
            same = stored[key].get(measurement.session, set())
            if content in same or content in added:
                counts.known += 1
            elif same:
                held = "the store holds other runs under its session"
                raise _damaged(file, number, measurement.session, held)
            else:  # a network that was timed twice in one session comes twice
                added.add(content)
                yield measurement

    counts.taken = store.save_all(missing())
    return counts


def _contents_by_session(store: MeasurementStore, key: Key) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for text in store.documents(key):
        with suppress(ValueError):
            measurement = read_measurement(text)
            found.setdefault(measurement.session, set()).add(_content(measurement))
    return found


def _content(measurement: Measurement) -> str:
    """Return the SHA-256 of all fields of a measurement."""
    text = json.dumps(measurement.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_file(file: Path) -> Iterator[tuple[int, Measurement]]:
    """Yield the measurements of a file with the numbers of their lines.

    Raises:
        ConfigError: The file cannot be read or has no valid header, or a line is damaged; the
            error names the line.
    """
    try:
        with open_regular(file) as lines:
            _check_header(file, lines.readline(LONGEST_LINE))
            number = 1
            while line := lines.readline(LONGEST_LINE):
                number += 1
                try:
                    yield number, read_measurement(line.decode())
                except ValueError as error:
                    cut = len(line) == LONGEST_LINE
                    why = f"it is longer than {LONGEST_LINE} bytes" if cut else str(error)
                    raise _damaged(
                        file, number, line.decode(errors="replace").strip(), why
                    ) from error
    except OSError as error:
        raise ConfigError(
            "file", str(file), f"must be a file that can be read ({error})"
        ) from error


def _check_header(file: Path, line: bytes) -> None:
    allowed = "must be a file that `nas-sv2 db export` wrote"
    try:
        header = parse_json(line)
    except ValueError as error:
        raise ConfigError("file", str(file), allowed) from error
    if not isinstance(header, dict) or FILE not in header:
        raise ConfigError("file", str(file), allowed)
    for name, reads in ((FILE, (FILE_VERSION,)), ("measurement_schema", READ_SCHEMAS)):
        if header.get(name) not in reads:
            allowed = f"must be {' or '.join(map(str, reads))}, as we read"
            raise ConfigError(f"{file}: {name}", header.get(name), allowed)


def _damaged(file: Path, number: int, given: str, why: str) -> ConfigError:
    sentence = f"must be a measurement ({' '.join(why.split())})"
    return ConfigError(f"{file}: line {number}", given, sentence)


def stored_measurements(store: MeasurementStore, counts: Counts) -> Iterator[Measurement]:
    """Yield all measurements of a store that this version reads, the oldest first.

    Raises:
        StoreError: The database cannot be read.
    """
    for text in store.documents():
        try:
            measurement = read_measurement(text)
        except ValueError:  # OtherSchema among them
            counts.skipped += 1
        else:
            yield measurement


@dataclass(frozen=True, slots=True)
class Figures:
    """The results of a measurement, without its runs.

    Attributes:
        key: The key; measurements of one key are comparable.
        facts: The facts of the fingerprint.
        plan: The fields of the plan.
        ms: The median in ms, and its 95 % interval.
        ratio: The time relative to the reference network, and the 95 % interval.
        session: The session of the measurement.
        measured_at: The time of the measurement; UTC, ISO 8601.
    """

    key: Key
    facts: Mapping[str, Any]
    plan: Mapping[str, Any]
    ms: tuple[float, Interval | None]
    ratio: tuple[float, Interval | None] | None
    session: str
    measured_at: str

    @classmethod
    def of(cls, measurement: Measurement) -> "Figures":
        """Return the figures of a measurement."""
        return cls(
            Key.of(measurement),
            measurement.fingerprint.facts,
            measurement.plan.to_json(),
            (measurement.median_ms, measurement.ci_ms),
            measurement.ratio,
            measurement.session,
            measurement.measured_at,
        )


def figures_of(measurements: Iterable[Measurement]) -> dict[Key, Figures]:
    """Return the newest figures of each key."""
    newest: dict[Key, Figures] = {}
    for measurement in measurements:
        figures = Figures.of(measurement)
        known = newest.get(figures.key)
        if known is None or known.measured_at <= figures.measured_at:
            newest[figures.key] = figures
    return newest


@dataclass(frozen=True, slots=True)
class Compared:
    """A key that both sides measured: the same network, device, runtime and protocol.

    Attributes:
        one: The first side's newest figures.
        other: The second side's newest figures.
    """

    one: Figures
    other: Figures

    @property
    def same(self) -> bool:
        """Whether both sides have the same measurement."""
        return self.one.session == self.other.session

    @property
    def ms(self) -> str:
        """`equal`, `different` if neither figure is in the other's interval, else `unknown`."""
        return _verdict(self.one.ms, self.other.ms)

    @property
    def ratio(self) -> str:
        """The verdict on the ratios, as `ms`."""
        return _verdict(self.one.ratio, self.other.ratio)


@dataclass(frozen=True, slots=True)
class OnPaper:
    """Networks that both sides measured, but on other devices, runtimes or by other protocols.

    Attributes:
        architectures: The digests of the networks.
        facts: The facts of the fingerprint that differ: the first side's value and the second's.
        plan: The fields of the plan that differ, likewise.
    """

    architectures: tuple[str, ...]
    facts: Mapping[str, tuple[Any, Any]]
    plan: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sources of measurements, compared.

    Attributes:
        compared: The keys that both sides measured.
        on_paper: The networks without a common key, grouped by their differences.
        only_one: Number of networks that only the first side measured.
        only_other: Number of networks that only the second side measured.
    """

    compared: tuple[Compared, ...]
    on_paper: tuple[OnPaper, ...]
    only_one: int
    only_other: int


def difference(one: Mapping[Key, Figures], other: Mapping[Key, Figures]) -> Difference:
    """Compare two sources' figures of the same networks."""
    compared = tuple(Compared(one[key], other[key]) for key in one if key in other)
    theirs_of: dict[str, list[Figures]] = {}
    for key, figures in other.items():
        if key not in one:
            theirs_of.setdefault(key.architecture, []).append(figures)
    settings: dict[tuple[str, ...], list[tuple[Figures, Figures]]] = {}
    for key, mine in one.items():
        for theirs in [] if key in other else theirs_of.get(key.architecture, []):
            settings.setdefault((*key[1:], *theirs.key[1:]), []).append((mine, theirs))
    on_paper = []
    for pairs in settings.values():
        mine, theirs = pairs[0]
        digests = tuple(first.key.architecture for first, _ in pairs)
        facts, plan = differing(mine.facts, theirs.facts), differing(mine.plan, theirs.plan)
        on_paper.append(OnPaper(digests, facts, plan))
    ours, yours = ({key.architecture for key in side} for side in (one, other))
    return Difference(compared, tuple(on_paper), len(ours - yours), len(yours - ours))


def _verdict(
    one: tuple[float, Interval | None] | None, other: tuple[float, Interval | None] | None
) -> str:
    if one is None or other is None or one[1] is None or other[1] is None:
        return "unknown"
    return "different" if apart((one[0], one[1]), (other[0], other[1])) else "equal"
