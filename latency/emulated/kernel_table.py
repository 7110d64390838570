"""Costs of kernels on one core, by kind, map and channels: the table behind an emulated target.

A cost is a sum of terms, each a product of channel counts with a coefficient that was fitted to
kernels run one by one. A kernel or map size that the table lacks is an error that names it, never
a silent zero. One file holds a core, with a section for each precision.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from nas_sv2.documents import STORED_FAULTS
from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.files import read_bounded
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.latency.measurements.measurement import is_text
from nas_sv2.plain_data import decode, is_number, parse_json, printable

SCHEMA = 2
"""The schema of the file. Schema 1 had one precision and was never released."""
# Kernel costs are sums of products of channel counts. They hold beyond the calibrated channels as
# long as the same code runs. We have not checked beyond this factor, so it is the limit.
MOST_TABLE_BYTES = 1 << 24
"""The limit of a file of tables; ours have 60 kB."""
EXTRAPOLATION = 2.0
# Each further part of a split or concat costs one more copy, so a larger factor is safe.
MORE_PARTS = 8.0
# How many parts of a quantised concat have its scale, so that they are copied. In 16 random
# networks it was one part in 88 % of the concats of two parts, and in 57 % of the larger ones.
COPIED: Mapping[int, float] = {1: 1.0, 2: 0.88}
COPIED_OF_MORE = 0.57
LANES = re.compile(r"(in|out)([\^%&?<])(\d+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """The cost of one kind of kernel on one map.

    Attributes:
        cycles: Cycles for each term; see `term`.
        channels_in: Fewest and most input channels that were calibrated.
        channels_out: Fewest and most output channels that were calibrated.
        parts: The most parts of a split or concat that were calibrated.
        fused: The calibrated combinations of fused operators, such as `add+relu`.
    """

    cycles: Mapping[str, float]
    channels_in: tuple[int, int]
    channels_out: tuple[int, int]
    parts: int
    fused: frozenset[str]


def term(name: str, kernel: Kernel) -> float:
    """Return the number that a term's cycles are multiplied by.

    A name is a product of factors joined by `*`:

    - `1`: the constant 1.
    - `in`, `out`, `parts`: the input channels, the output channels, the parts.
    - `looked`: the average share of a quantised concat that is looked up instead of copied.
    - `relu`, `sigmoid`, `add`: 1 if that operator is fused, else 0.
    - `lone`: 1 if ReLU alone is fused, else 0.
    - `out^8`: the channels rounded up to a multiple of 8.
    - `out%4`: the remainder of the channels by 4; `out?4`: 1 if there is a remainder, else 0.
    - `out&8`: 1 if this bit of the number of channels is set, else 0.
    - `out<64`: the channels, at most 64.

    The last five exist for `in` as well.
    """
    product = 1.0
    for factor in _factors(name):
        product *= factor(kernel)
    return product


@cache
def _factors(name: str) -> tuple[Callable[[Kernel], float], ...]:
    return tuple(map(_factor, name.split("*")))


def _factor(name: str) -> Callable[[Kernel], float]:
    if lanes := LANES.fullmatch(name):
        return _lanes(lanes[1] == "in", lanes[2], int(lanes[3]))
    match name:
        case "1":
            return lambda kernel: 1
        case "in":
            return lambda kernel: kernel.channels_in
        case "out":
            return lambda kernel: kernel.channels_out
        case "parts":
            return lambda kernel: kernel.parts
        case "looked":
            return lambda kernel: 1 - COPIED.get(kernel.parts, COPIED_OF_MORE) / kernel.parts
        case "relu" | "sigmoid" | "add":
            return lambda kernel: float(name in kernel.fused)
        case "lone":
            return lambda kernel: float(kernel.fused == ("relu",))
    raise DeviceError(f"unknown term {name!r} in a kernel table; it is of another version")


def _lanes(of_input: bool, sign: str, lanes: int) -> Callable[[Kernel], float]:
    def factor(kernel: Kernel) -> float:
        channels = kernel.channels_in if of_input else kernel.channels_out
        match sign:
            case "^":
                return -(-channels // lanes) * lanes
            case "%":
                return channels % lanes
            case "<":
                return min(channels, lanes)
            case "&":
                return float(bool(channels & lanes))
            case _:
                return float(bool(channels % lanes))

    return factor


@dataclass(frozen=True, slots=True)
class Table:
    """Costs of kernels on one core in one precision, and their origin.

    Attributes:
        entries: The costs, by `Kernel.key`.
        cycles_per_ms: The scale from cycles to ms.
        precision: The number format of the kernels.
        device: Core, runtime, threads, batch and precision in words.
        note: A remark on every figure: how far it can be trusted.
        metadata: The origin of the numbers: the JSON file without its entries.
    """

    entries: Mapping[str, Entry]
    cycles_per_ms: float
    precision: ArmPrecision
    device: str
    note: str
    metadata: Mapping[str, Any]

    @classmethod
    def load(cls, core: str | Path = "cortex-a57", precision: ArmPrecision = "fp32") -> "Table":
        """Load the shipped table of a core, or a file that `calibrate` wrote.

        Raises:
            DeviceError: The file or table does not exist, or has another version.
        """
        source, text = core, table_text(core)
        try:
            document = parse_json(text)
            if document["schema"] != SCHEMA:
                raise DeviceError(
                    f"{source}: schema {document['schema']}; this version reads {SCHEMA}"
                )
            sections = document.pop("tables")
            if precision not in sections:
                raise DeviceError(
                    f"{source} holds {', '.join(sections)} and no {precision}; calibrate it"
                )
            section = sections[precision]
            entries = {
                key: Entry(
                    entry["cycles"],
                    tuple(entry["channels_in"]),
                    tuple(entry["channels_out"]),
                    entry["parts"],
                    frozenset(entry["fused"]),
                )
                for key, entry in section.pop("entries").items()
            }
            scale = section["scale"]["cycles_per_ms"]
            names = section["device"], section["note"]
            _check_numbers(scale, entries, *names)
        except STORED_FAULTS as error:
            reason = printable(repr(error))
            raise DeviceError(f"{source} is no table of kernel costs: {reason}") from error
        return cls(entries, scale, precision, *names, {**document, **section})

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the costs and the scale."""
        costs = sorted((key, sorted(entry.cycles.items())) for key, entry in self.entries.items())
        text = repr((self.device, self.cycles_per_ms, costs))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_scale(self, cycles_per_ms: float, why: str) -> "Table":
        """Return the same costs with another scale; `why` is noted on every figure."""
        return replace(self, cycles_per_ms=cycles_per_ms, note=f"emulated; {why}")

    def cycles(self, kernel: Kernel) -> float:
        """Return the cost of `kernel`, in cycles.

        Raises:
            MeasurementError: The table does not cover the kernel; the message lists its coverage.
        """
        entry = self.entries.get(kernel.key)
        if entry is None:
            self._refuse(kernel, self._covered_maps(kernel))
        if "+".join(kernel.fused) not in entry.fused:
            self._refuse(kernel, "it is covered " + _spoken(entry.fused))
        for label, channels, (least, most) in (
            ("input", kernel.channels_in, entry.channels_in),
            ("output", kernel.channels_out, entry.channels_out),
        ):
            if not least / EXTRAPOLATION <= channels <= most * EXTRAPOLATION:
                self._refuse(
                    kernel,
                    f"{least} to {most} {label} channels are calibrated, "
                    f"and {EXTRAPOLATION:g} times beyond is allowed",
                )
        if kernel.parts > entry.parts * MORE_PARTS:
            self._refuse(
                kernel,
                f"up to {entry.parts} parts are calibrated, and {MORE_PARTS:g} times more allowed",
            )
        return sum(cycles * term(name, kernel) for name, cycles in entry.cycles.items())

    def extrapolates(self, kernel: Kernel) -> bool:
        """Return whether a covered kernel has more or fewer channels than were calibrated."""
        entry = self.entries[kernel.key]
        return not (
            entry.channels_in[0] <= kernel.channels_in <= entry.channels_in[1]
            and entry.channels_out[0] <= kernel.channels_out <= entry.channels_out[1]
            and kernel.parts <= entry.parts
        )

    def _covered_maps(self, kernel: Kernel) -> str:
        maps: dict[str, list[int]] = {}
        for key in self.entries:
            kind, _, side = key.rpartition(" @")
            maps.setdefault(kind, []).append(int(side))
        if kernel.kind in maps:
            sides = ", ".join(map(str, sorted(maps[kernel.kind], reverse=True)))
            return f"{kernel.kind} is covered on square maps of side {sides}"
        return f"the kinds covered are {', '.join(sorted(maps))}"

    def _refuse(self, kernel: Kernel, covered: str) -> NoReturn:
        raise MeasurementError(
            f"{self.device}: no price for {kernel.ops[0]} ({kernel.shape}): {covered}; "
            "measure on a real device, or choose another size"
        )


def table_text(core: str | Path) -> str:
    """Read the file that holds a core's tables, given by core or by path.

    Raises:
        DeviceError: The file cannot be read.
    """
    file: Any = core
    if isinstance(core, str):
        file = resources.files("nas_sv2.latency.emulated") / f"{core.replace('-', '_')}.json"
    try:
        if isinstance(file, Path):
            return decode(read_bounded(file, MOST_TABLE_BYTES))
        text: str = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DeviceError(f"{core}: no table of kernel costs can be read: {error}") from error
    return text


def _check_numbers(cycles_per_ms: object, entries: Mapping[str, Entry], *texts: object) -> None:
    """Refuse costs that are not positive numbers, and texts that cannot be printed."""
    numbers = [cycles_per_ms, *(each for entry in entries.values() for each in entry.channels_in)]
    numbers += [each for entry in entries.values() for each in entry.channels_out]
    costs = [cost for entry in entries.values() for cost in (*entry.cycles.values(), entry.parts)]
    if not all(is_number(each, 1e-9, 1e18) for each in numbers):
        raise ValueError("numbers of a table must be above 0")
    if not all(is_number(each, -1e18, 1e18) for each in costs):
        raise ValueError("costs of a table must be numbers")
    if not all(map(is_text, texts)) or not all(map(is_text, entries)):
        raise ValueError("texts of a table must be printable")


def _spoken(fused: frozenset[str]) -> str:
    return " or ".join(f"with {name}" if name else "alone" for name in sorted(fused))
