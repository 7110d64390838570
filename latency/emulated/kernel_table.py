"""Costs of kernels on an ARM core, as a table in a file: one core in a runtime.

The table holds cycles per kernel of a runtime's aarch64 build (onnxruntime, LiteRT or ncnn). The
kernels ran under an emulator that counted basic blocks, and LLVM's scheduling model of the core
turned blocks into cycles (`calibration` rebuilds the table). A cost is a sum of terms, each a
product of channel counts with a coefficient that was fitted to kernels run one by one. One file
holds a core in a runtime, with a section for each precision.

On a map that was not calibrated, a cost comes from the formula of the kernel's kind. Its terms
have the sides of the map as factors, too. It was fitted to the calibrated maps and to kernels of
networks with other inputs. A kind of kernel that the table lacks is an error that names it, never
a silent zero.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from nas_sv2.documents import STORED_FAULTS, Positive
from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.files import read_bounded
from nas_sv2.latency.kernels.kernel import WINDOW, ArmPrecision, ArmRuntime, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.latency.measurements.measurement import is_text
from nas_sv2.plain_data import decode, parse_json, printable
from nas_sv2.space.graph.cost import BYTES_PER_NUMBER
from nas_sv2.space.graph.operators import Graph

SCHEMA = 2
"""The schema of the file. Schema 1 had one precision and was never released."""
MOST_TABLE_BYTES = 1 << 24
"""The limit of a file of tables; ours have 60 kB."""
# Kernel costs are sums of products of channel counts. They hold beyond the calibrated channels as
# long as the same code runs. We have not checked beyond this factor, so it is the limit.
EXTRAPOLATION = 2.0
# Each further part of a split or concat costs one more copy, so a larger factor is safe.
MORE_PARTS = 8.0
# How many parts of a quantised concat have its scale, so that they are copied. In 16 random
# networks it was one part in 88 % of the concats of two parts, and in 57 % of the larger ones.
COPIED: Mapping[int, float] = {1: 1.0, 2: 0.88}
COPIED_OF_MORE = 0.57
BYTES: Mapping[ArmPrecision, int] = {"fp32": BYTES_PER_NUMBER, "fp16": 2, "int8": 1}
"""Bytes of a number on a map."""
MOST_SIDE = 1024
"""The longest side of a map that a formula prices, in pixels."""
LANES = re.compile(r"(\w+)([\^%&?<>])([1-9]\d*)")
KEY = re.compile(r".+ @[1-9]\d*")
"""The key of an entry: a kind, and the side of a square map."""

Cycles = Annotated[int, Meta(ge=0, le=10**18)] | Annotated[float, Meta(ge=0, le=1e18)]
"""A whole number stays one: the digest of a table is of its numbers as they are written."""
Fused = Annotated[str, Meta(pattern=r"^[a-z0-9+]*\Z")]


@dataclass(frozen=True, slots=True)
class KernelCost:
    """The cost of one kind of kernel, on one map or as a formula of the map.

    Attributes:
        cycles: Cycles for each term; see `term`.
        channels_in: Fewest and most input channels that were calibrated.
        channels_out: Fewest and most output channels that were calibrated.
        parts: The most parts of a split or concat that were calibrated.
        fused: The calibrated combinations of fused operators, such as `add+relu`.
    """

    cycles: Annotated[Mapping[str, Cycles], Meta(min_length=1)]
    channels_in: tuple[Positive, Positive]
    channels_out: tuple[Positive, Positive]
    parts: Positive
    fused: frozenset[Fused]

    def __post_init__(self) -> None:
        """Refuse a term of another version."""
        for name in self.cycles:
            _factors(name)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read the plain data of a table's file.

        Raises:
            DeviceError: A term is of another version.
            ValueError: The data have another form.
        """
        return msgspec.convert(stored, cls)

    def of(self, kernel: Kernel) -> float:
        """Return the cost of a kernel, in cycles."""
        return sum(cycles * term(name, kernel) for name, cycles in self.cycles.items())

    def why_not(self, kernel: Kernel) -> str:
        """Say what of a kernel is not covered; an empty text if all is."""
        if "+".join(kernel.fused) not in self.fused:
            return "it is covered " + _spoken(self.fused)
        for label, channels, (least, most) in (
            ("input", kernel.channels_in, self.channels_in),
            ("output", kernel.channels_out, self.channels_out),
        ):
            if not least / EXTRAPOLATION <= channels <= most * EXTRAPOLATION:
                return (
                    f"{least} to {most} {label} channels are calibrated, "
                    f"and {EXTRAPOLATION:g} times beyond is allowed"
                )
        if kernel.parts > self.parts * MORE_PARTS:
            more = f"and {MORE_PARTS:g} times more allowed"
            return f"up to {self.parts} parts are calibrated, {more}"
        return ""

    def extrapolates(self, kernel: Kernel) -> bool:
        """Return whether a covered kernel has more or fewer channels than were calibrated."""
        return not (
            self.channels_in[0] <= kernel.channels_in <= self.channels_in[1]
            and self.channels_out[0] <= kernel.channels_out <= self.channels_out[1]
            and kernel.parts <= self.parts
        )


def term(name: str, kernel: Kernel) -> float:
    """Return the number that a term's cycles are multiplied by.

    A name is a product of factors joined by `*`:

    - `1`: the constant 1.
    - `in`, `out`, `parts`: the input channels, the output channels, the parts.
    - `looked`: the average share of a quantised concat that is looked up instead of copied.
    - `relu`, `relu6`, `sigmoid`, `add`: 1 if that operator is fused, else 0.
    - `lone`: 1 if ReLU alone is fused, else 0.
    - `out^8`: the channels rounded up to a multiple of 8.
    - `out%4`: the remainder of the channels by 4; `out?4`: 1 if there is a remainder, else 0.
    - `out&8`: 1 if this bit of the number of channels is set, else 0.
    - `out<64`: the channels, at most 64.
    - `area>2`: 1 if there are more than 2 pixels, else 0.
    - `rows`, `columns`, `area`: height, width and pixels of the map written.
    - `read`: pixels of the map read.
    - `inner`, `deep`: the width of the map written without 2, and without 4, columns at its edges.

    The six signs exist for every number of channels or pixels.
    """
    product = 1.0
    for factor in _factors(name):
        product *= factor(kernel)
    return product


Factor = Callable[[Kernel], float]


@cache
def _factors(name: str) -> tuple[Factor, ...]:
    return tuple(map(_factor, name.split("*")))


COUNTS: Mapping[str, Factor] = {
    "in": lambda kernel: kernel.channels_in,
    "out": lambda kernel: kernel.channels_out,
    "parts": lambda kernel: kernel.parts,
    "rows": lambda kernel: kernel.written[0],
    "columns": lambda kernel: kernel.written[1],
    "area": lambda kernel: math.prod(kernel.written),
    "read": lambda kernel: kernel.source.area,
    "inner": lambda kernel: max(kernel.written[1] - 2, 0),
    "deep": lambda kernel: max(kernel.written[1] - 4, 0),
}
FACTORS: Mapping[str, Factor] = {
    **COUNTS,
    "1": lambda kernel: 1,
    "looked": lambda kernel: 1 - COPIED.get(kernel.parts, COPIED_OF_MORE) / kernel.parts,
    "relu": lambda kernel: float("relu" in kernel.fused),
    "relu6": lambda kernel: float("relu6" in kernel.fused),
    "sigmoid": lambda kernel: float("sigmoid" in kernel.fused),
    "add": lambda kernel: float("add" in kernel.fused),
    "lone": lambda kernel: float(kernel.fused == ("relu",)),
}


def _factor(name: str) -> Factor:
    lanes = LANES.fullmatch(name)
    if lanes and lanes[1] in COUNTS:
        return _lanes(COUNTS[lanes[1]], lanes[2], int(lanes[3]))
    if name not in FACTORS:
        raise DeviceError(f"unknown term {name!r}; the table is of another version")
    return FACTORS[name]


def _lanes(count: Factor, sign: str, lanes: int) -> Factor:
    def factor(kernel: Kernel) -> float:
        number = int(count(kernel))
        match sign:
            case "^":
                return -(-number // lanes) * lanes
            case "%":
                return number % lanes
            case "<":
                return min(number, lanes)
            case ">":
                return float(number > lanes)
            case "&":
                return float(bool(number & lanes))
            case _:
                return float(bool(number % lanes))

    return factor


@dataclass(frozen=True, slots=True)
class KernelTable:
    """Costs of kernels on one core in one precision, and their origin.

    Attributes:
        entries: The costs on calibrated maps, by `Kernel.key`.
        formulas: The costs on any other map, by `Kernel.kind`.
        cycles_per_ms: The scale from cycles to ms.
        precision: The number format of the kernels.
        runtime: The runtime that the kernels are of.
        device: Core, runtime, threads, batch and precision in words.
        note: A remark on every figure: how far it can be trusted.
        metadata: The origin of the numbers: the JSON file without its entries.
        cycles_per_byte: The cost of memory: cycles for each byte of the maps read and written.
    """

    entries: Mapping[str, KernelCost]
    formulas: Mapping[str, KernelCost]
    cycles_per_ms: float
    precision: ArmPrecision
    runtime: ArmRuntime
    device: str
    note: str
    metadata: Mapping[str, Any]
    cycles_per_byte: float = 0.0

    @classmethod
    def load(
        cls,
        core: str | Path = "cortex-a57",
        precision: ArmPrecision = "fp32",
        runtime: ArmRuntime = "onnxruntime",
    ) -> "KernelTable":
        """Load the shipped table of a core in a runtime, or a file that `calibrate` wrote.

        Raises:
            ConfigError: The file is of another runtime, or has no table in that precision.
            DeviceError: The file or table does not exist, or has another version.
        """
        document, file = _shipped(core, runtime) if isinstance(core, str) else _read(core, runtime)
        if file.runtime != runtime:
            allowed = f"must be {file.runtime}, whose kernels {core} holds"
            raise ConfigError("runtime", runtime, allowed)
        if precision not in file.tables:
            allowed = f"must be {' or '.join(file.tables)}, which {core} holds"
            raise ConfigError("precision", precision, allowed)
        section = file.tables[precision]
        about = {**document, **document["tables"][precision]}
        return cls(
            section.entries,
            section.formulas,
            section.scale.cycles_per_ms,
            precision,
            runtime,
            section.device,
            section.note,
            {name: fact for name, fact in about.items() if name not in _COSTS},
            section.memory.cycles_per_byte,
        )

    def kernels(self, graph: Graph) -> tuple[Kernel, ...]:
        """Return the kernels that the runtime executes for `graph`, in running order."""
        return kernels_of(graph, self.precision, self.runtime)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the costs and the scale."""
        priced = {**self.entries, **self.formulas}
        costs = sorted((key, sorted(entry.cycles.items())) for key, entry in priced.items())
        memory = (self.cycles_per_byte,) if self.cycles_per_byte else ()
        text = repr((self.device, self.cycles_per_ms, costs, *memory))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_scale(self, cycles_per_ms: float, why: str) -> "KernelTable":
        """Return the same costs with another scale; `why` is noted on every figure."""
        return replace(self, cycles_per_ms=cycles_per_ms, note=f"emulated; {why}")

    def cycles(self, kernel: Kernel) -> float:
        """Return the cost of `kernel`, in cycles.

        Raises:
            MeasurementError: The table does not cover the kernel; the message lists its coverage.
        """
        entry = self._cost(kernel)
        if isinstance(entry, str):
            raise MeasurementError(
                f"{self.device}: no price for {kernel.ops[0]} ({kernel.shape}): {entry}; "
                "measure on a real device, or choose another size"
            )
        if not self.cycles_per_byte:
            return entry.of(kernel)
        return entry.of(kernel) + self.cycles_per_byte * moved_bytes(kernel, self.precision)

    def _cost(self, kernel: Kernel) -> KernelCost | str:
        """Return the entry or formula that prices a kernel, or say why none does."""
        entry, formula = self.entries.get(kernel.key), self.formulas.get(kernel.kind)
        why = self._covered_maps(kernel) if entry is None else entry.why_not(kernel)
        if entry is not None and not why:
            return entry
        # Some kernels run other code on one pixel, which the formula then leaves out.
        if formula is None or (entry is not None and kernel.source.area == 1):
            return why
        if max(kernel.source.height, kernel.source.width) > MOST_SIDE:
            return f"maps of up to {MOST_SIDE} pixels a side are covered"
        return formula.why_not(kernel) or formula

    def extrapolates(self, kernel: Kernel) -> bool:
        """Return whether a covered kernel has more or fewer channels than were calibrated."""
        entry = self._cost(kernel)
        return isinstance(entry, str) or entry.extrapolates(kernel)

    def is_by_formula(self, kernel: Kernel) -> bool:
        """Return whether a formula of the map prices a covered kernel of a kind that has entries.

        Those of LiteRT and ncnn have a formula alone, which is as exact on every map.
        """
        by_formula = self._cost(kernel) is self.formulas.get(kernel.kind)
        return by_formula and self.runtime == "onnxruntime"

    def _covered_maps(self, kernel: Kernel) -> str:
        maps: dict[str, list[int]] = {}
        for key in self.entries:
            kind, _, side = key.rpartition(" @")
            maps.setdefault(kind, []).append(int(side))
        if kernel.kind in maps:
            sides = ", ".join(map(str, sorted(maps[kernel.kind], reverse=True)))
            return f"{kernel.kind} is covered on square maps of side {sides}"
        return f"the kinds covered are {', '.join(sorted({*maps, *self.formulas}))}"


def moved_bytes(kernel: Kernel, precision: ArmPrecision = "fp32") -> int:
    """Count the bytes of the maps that a kernel reads and writes, without weights."""
    word = kernel.kind.split()[0]
    reads = kernel.source.area * kernel.channels_in * (2 if word == "add" else 1)
    is_global = word in ("average", "linear") and WINDOW.search(kernel.kind) is None
    pixels = 1 if is_global else math.prod(kernel.written)
    return BYTES[precision] * (reads + pixels * kernel.channels_out)


def table_text(core: str | Path, runtime: ArmRuntime = "onnxruntime") -> str:
    """Read the file that holds a core's tables in a runtime, given by core or by path.

    Raises:
        DeviceError: The file cannot be read.
    """
    file: Any = core
    if isinstance(core, str):
        name = core.replace("-", "_") + ("" if runtime == "onnxruntime" else f"_{runtime}")
        file = resources.files("nas_sv2.latency.emulated") / f"{name}.json"
    try:
        if isinstance(file, Path):
            return decode(read_bounded(file, MOST_TABLE_BYTES))
        text: str = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DeviceError(f"{core}: no table of kernel costs can be read: {error}") from error
    return text


class _Scale(msgspec.Struct):
    cycles_per_ms: Cycles

    def __post_init__(self) -> None:
        """Refuse a scale by which no time follows."""
        if not self.cycles_per_ms:
            raise ValueError("cycles_per_ms must be above 0")


class _Memory(msgspec.Struct):
    cycles_per_byte: Cycles = 0.0


class _Section(msgspec.Struct):
    """The costs of one precision in a file."""

    device: str
    note: str
    scale: _Scale
    entries: dict[str, KernelCost]
    formulas: dict[str, KernelCost] = {}
    memory: _Memory = msgspec.field(default_factory=_Memory)

    def __post_init__(self) -> None:
        """Refuse texts that cannot be printed, and keys that name no map."""
        if not all(map(is_text, (self.device, self.note, *self.entries, *self.formulas))):
            raise ValueError("texts of a table must be printable")
        if not all(map(KEY.fullmatch, self.entries)):
            raise ValueError("a key of an entry must be KIND @SIDE")


class _File(msgspec.Struct):
    """The tables of a core in a runtime."""

    core: str
    tables: dict[ArmPrecision, _Section]
    runtime: ArmRuntime = "onnxruntime"


_COSTS = ("tables", "entries", "formulas")


@cache
def _shipped(core: str, runtime: ArmRuntime) -> tuple[Mapping[str, Any], _File]:
    """Read a file of ours, once in a process: 50 ms, several times for a target."""
    return _read(core, runtime)


def _read(core: str | Path, runtime: ArmRuntime) -> tuple[Mapping[str, Any], _File]:
    """Read the document of a file, and its tables.

    Raises:
        DeviceError: As `KernelTable.load`.
    """
    text = table_text(core, runtime)
    try:
        document = parse_json(text)
        if document["schema"] != SCHEMA:
            raise DeviceError(f"schema {document['schema']}; this version reads {SCHEMA}")
        return document, msgspec.convert(document, _File)
    except STORED_FAULTS as error:
        reason = printable(str(error) or repr(error))
        raise DeviceError(f"{core} is no table of kernel costs: {reason}") from error


def _spoken(fused: frozenset[str]) -> str:
    return " or ".join(f"with {name}" if name else "alone" for name in sorted(fused))
