"""Costs of kernels on one core, by kind, map and channels: the table behind an emulated target.

A cost is a sum of terms, each a product of channel counts with a coefficient that was fitted to
kernels run one by one. A kernel or map size that the table lacks is an error that names it, never
a silent zero. One file holds a core, with a section for each precision.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel

SCHEMA = 2
"""Of the file. 1 had one precision and was never released."""
# Kernel costs are sums of products of channel counts, which hold beyond the calibrated channels as
# long as the same code runs; beyond this factor we have never checked, so we refuse.
EXTRAPOLATION = 2.0
# Splits and concats cost the same for every further part, a copy each, so more may be trusted.
MORE_PARTS = 8.0
# How many parts of a quantised concat have its scale, so that they are copied: in 16 random
# networks one in 88 % of those of two parts, and in 57 % of those of more.
COPIED: Mapping[int, float] = {1: 1.0, 2: 0.88}
COPIED_OF_MORE = 0.57
LANES = re.compile(r"(in|out)([\^%&?<])(\d+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """The cost of one kind of kernel on one map.

    Attributes:
        cycles: Cycles for each term; see `term`.
        channels_in: Least and most input channels that were calibrated.
        channels_out: The same for output channels.
        parts: The most parts of a split or concat that were calibrated.
        fused: What may be fused to it: each calibrated combination, as `add+relu`.
    """

    cycles: Mapping[str, float]
    channels_in: tuple[int, int]
    channels_out: tuple[int, int]
    parts: int
    fused: frozenset[str]


def term(name: str, kernel: Kernel) -> float:
    """The number that a term's cycles are multiplied with.

    A name is a product of factors joined by `*`:

    - `1`; `in` and `out`, the channels; `parts`; `looked`, the share of a quantised concat that is
      looked up and not copied, as it is on average;
    - `relu`, `sigmoid` and `add`, 1 where that is fused and else 0; `lone`, 1 where ReLU is and
      nothing else;
    - `out^8`, channels rounded up to a multiple of 8; `out%4`, what is left over by 4; `out?4`, 1
      where anything is; `out&8`, 1 where that bit of their number is set; `out<64`, channels up to
      64. The same for `in`.
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
    """Costs of kernels on one core in one precision, and what is known about them.

    Attributes:
        entries: By `Kernel.key`.
        cycles_per_ms: The one scale.
        precision: What it prices.
        device: Core, runtime, threads, batch and precision in words.
        note: What to know of every figure: how far it can be trusted.
        metadata: Where the numbers come from, for people: the JSON file without its entries.
    """

    entries: Mapping[str, Entry]
    cycles_per_ms: float
    precision: ArmPrecision
    device: str
    note: str
    metadata: Mapping[str, Any]

    @classmethod
    def load(cls, core: str | Path = "cortex-a57", precision: ArmPrecision = "fp32") -> "Table":
        """The table of a core that is shipped, or of a file that `calibrate` wrote.

        Raises:
            DeviceError: There is no such file or table, or it is of another version.
        """
        source, text = core, table_text(core)
        try:
            document = json.loads(text)
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
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeviceError(f"{source} is no table of kernel costs: {error!r}") from error
        return cls(entries, scale, precision, *names, {**document, **section})

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the costs and the scale."""
        costs = sorted((key, sorted(entry.cycles.items())) for key, entry in self.entries.items())
        text = repr((self.device, self.cycles_per_ms, costs))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_scale(self, cycles_per_ms: float, why: str) -> "Table":
        """The same costs with another scale; `why` is said of every figure."""
        return replace(self, cycles_per_ms=cycles_per_ms, note=f"emulated; {why}")

    def cycles(self, kernel: Kernel) -> float:
        """The cost of `kernel`.

        Raises:
            MeasurementError: The table does not cover it; the message says what it covers.
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
        """Whether a covered kernel has more or fewer channels than were calibrated."""
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
    """The text of the file that holds a core's tables: a shipped one, or one by its path.

    Raises:
        DeviceError: It cannot be read.
    """
    file: Any = core
    if isinstance(core, str):
        file = resources.files("nas_sv2.latency.emulated") / f"{core.replace('-', '_')}.json"
    try:
        text: str = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{core}: no table of kernel costs can be read: {error}") from error
    return text


def _spoken(fused: frozenset[str]) -> str:
    return " or ".join(f"with {name}" if name else "alone" for name in sorted(fused))
