"""Costs of kernels on one core, by kind, map and channels: the table behind an emulated target.

A cost is a sum of terms, each a product of channel counts with a coefficient that was fitted to
kernels run one by one. A kernel or map size that the table lacks is an error that names it, never
a silent zero.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NoReturn

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.kernels import Kernel

SCHEMA = 1
TABLE_FILE = "cortex_a57.json"
# Kernel costs are sums of products of channel counts, which hold beyond the calibrated channels as
# long as the same code runs; beyond this factor we have never checked, so we refuse.
EXTRAPOLATION = 2.0
# Splits and concats cost the same for every further part, a copy each, so more may be trusted.
MORE_PARTS = 8.0


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

    A name is a product of factors joined by `*`: `1`; `in` and `out`, the channels; `parts`;
    `relu`, `sigmoid` and `add`, 1 where that is fused and else 0.
    """
    product = 1.0
    for factor in name.split("*"):
        product *= _factor(factor, kernel)
    return product


def _factor(name: str, kernel: Kernel) -> float:
    match name:
        case "1":
            return 1
        case "in":
            return kernel.channels_in
        case "out":
            return kernel.channels_out
        case "parts":
            return kernel.parts
        case "relu" | "sigmoid" | "add":
            return float(name in kernel.fused)
    raise DeviceError(f"{TABLE_FILE}: unknown term {name!r}; the file is of another version")


@dataclass(frozen=True, slots=True)
class Table:
    """Costs of kernels on one core, and what is known about them.

    Attributes:
        entries: By `Kernel.key`.
        cycles_per_ms: The one scale.
        metadata: Where the numbers come from, for people: the JSON file without its entries.
    """

    entries: Mapping[str, Entry]
    cycles_per_ms: float
    metadata: Mapping[str, Any]

    @classmethod
    def load(cls) -> "Table":
        """The table that is shipped.

        Raises:
            DeviceError: The file is of a newer version than this code.
        """
        text = (resources.files("nas_sv2.latency") / TABLE_FILE).read_text(encoding="utf-8")
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise DeviceError(
                f"{TABLE_FILE}: schema {document['schema']}; this version reads {SCHEMA}"
            )
        entries = {
            key: Entry(
                entry["cycles"],
                tuple(entry["channels_in"]),
                tuple(entry["channels_out"]),
                entry["parts"],
                frozenset(entry["fused"]),
            )
            for key, entry in document.pop("entries").items()
        }
        return cls(entries, document["scale"]["cycles_per_ms"], document)

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
            f"arm (emulated): no price for {kernel.ops[0]} ({kernel.shape}): {covered}; "
            "measure on a real device, or choose another size"
        )


def _spoken(fused: frozenset[str]) -> str:
    return " or ".join(f"with {name}" if name else "alone" for name in sorted(fused))
