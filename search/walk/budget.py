"""Budgets and durations as the user writes them: `140M`, `arm=25ms`, `2MiB`; `90s`, `2h`."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas_sv2.documents import check_value
from nas_sv2.errors import ConfigError
from nas_sv2.plain_data import is_number
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.space.runtimes.memory_plan import memory_in

ALLOWED = (
    "must be a number with a unit: 140M or 140MFLOPs (M is a million; m and a number without a "
    "unit are refused), 25ms (latency on every target), arm=25ms (on one), 2.5Mparams, "
    "2MiB or 2MB (peak memory)"
)
LEAST, MOST = 1e-9, 1e24
"""The limits of a limit, so that an excess over it, a share of it, is finite."""
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SCALE = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
_SCALE |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_FORM = re.compile(
    r"(?:(?P<target>[\w.-]+)=)?(?P<number>[0-9]{1,15}(?:\.[0-9]{1,9})?)"
    r" ?(?P<unit>ms|[KMG]i?B|[KMG]?[ ]?params|[KMG](?i:[ ]?FLOPs?)?|(?i:FLOPs?))"
)


@dataclass(frozen=True)
class Budget:
    """Upper limits; a limit that is None or absent does not apply.

    Attributes:
        flops: Multiply-adds; a level, which may be exceeded by `tolerance`.
        params: Learnt parameters.
        latency_ms: Latencies in ms, by target.
        tolerance: Share by which `flops` may be exceeded. The paper's networks of a level differ
            by about so much (1×: 146M at the level of 140M).
        memory_bytes: Weights and activations that a runtime sets aside at once (`memory_in`), for
            one image in float32.
        runtimes: The runtimes of the targets; the one that sets most aside counts.
    """

    flops: float | None = None
    params: float | None = None
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.05
    memory_bytes: float | None = None
    runtimes: tuple[str, ...] = ("onnxruntime",)

    def __post_init__(self) -> None:
        """Refuse a limit that is not a number above 0, and a tolerance that is not a share.

        Raises:
            ConfigError: There is one; names it.
        """
        if not is_number(self.tolerance, 0, 1) or self.tolerance == 1:
            allowed = "must be a share from 0 up to 1, as 0.05"
            raise ConfigError("tolerance", self.tolerance, allowed)
        names = self.latency_ms if isinstance(self.latency_ms, Mapping) else [None]
        if not all(isinstance(name, str) for name in names):
            sentence = "must be a mapping of targets to ms, as {'arm': 25}"
            raise ConfigError("budget latency_ms", self.latency_ms, sentence)
        check_value("budget runtimes", self.runtimes, tuple[str, ...])
        if not self.runtimes:
            raise ConfigError("budget runtimes", (), "must have at least one runtime")
        limits = {"flops": self.flops, "params": self.params, "memory": self.memory_bytes}
        limits |= self.latency_ms
        for name, limit in limits.items():
            if limit is not None and not is_number(limit, LEAST, MOST):
                sentence = f"must be a number from {LEAST:g} to {MOST:g}"
                raise ConfigError(f"budget {name}", limit, sentence)

    def excesses_of(self, graph: Graph) -> dict[str, float]:
        """The excess of a network over each limit on cost; at most 0 if it is kept."""
        cost = cost_of(graph)
        return self.cost_excesses(cost.flops, cost.params, self.memory_of(graph) or 0)

    def memory_of(self, graph: Graph) -> int | None:
        """The bytes that a network needs in the runtimes; None if there is no limit on them."""
        if self.memory_bytes is None:
            return None
        return max(memory_in(graph, runtime).bytes for runtime in self.runtimes)

    def cost_excesses(
        self, flops: float, params: float, memory_bytes: float = 0
    ) -> dict[str, float]:
        """The excess over each limit on cost, as a share of it; at most 0 if it is kept."""
        found = {}
        if self.flops is not None:
            found["flops"] = flops / (self.flops * (1 + self.tolerance)) - 1
        if self.params is not None:
            found["params"] = params / self.params - 1
        if self.memory_bytes is not None:
            found["memory"] = memory_bytes / self.memory_bytes - 1
        return found

    @property
    def cost_limits(self) -> list[str]:
        """The names of the limits on cost."""
        return list(self.cost_excesses(0, 0))

    def latency_excesses(self, ms: Mapping[str, float]) -> dict[str, float]:
        """The excess of each latency over its limit, as a share of it; at most 0 if it is kept."""
        return {f"{name}_ms": ms[name] / limit - 1 for name, limit in self.latency_ms.items()}

    @property
    def constraints(self) -> list[str]:
        """The names of the limits, as samplers know them."""
        unlimited = dict.fromkeys(self.latency_ms, 0.0)
        return [*self.cost_limits, *self.latency_excesses(unlimited)]

    def to_json(self) -> dict[str, Any]:
        """Return the limits by name, without that on memory if there is none."""
        fields = {**dataclasses.asdict(self), "runtimes": list(self.runtimes)}
        if self.memory_bytes is None:
            del fields["memory_bytes"], fields["runtimes"]
        return fields

    def describe(self) -> str:
        """The limits in the user's units."""
        parts = []
        if self.flops is not None:
            parts.append(f"{self.flops / 1e6:g} MFLOPs + {self.tolerance:.0%}")
        if self.params is not None:
            parts.append(f"{self.params / 1e6:g} M params")
        if self.memory_bytes is not None:
            parts.append(
                f"{memory_in_words(self.memory_bytes)} of memory in {' and '.join(self.runtimes)}"
            )
        parts += [f"{ms:g} ms on {name}" for name, ms in self.latency_ms.items()]
        return ", ".join(parts) or "none"


def parse_budget(texts: Iterable[str], targets: Iterable[str], tolerance: float = 0.05) -> Budget:
    """The budget that the user's words describe.

    Raises:
        ConfigError: If a word has no unit, is not above 0, names a target that is not searched
            for, or repeats a limit; or the tolerance is not a share.
    """
    known = list(targets)
    limits: dict[str, float] = {}
    for text in texts:
        for name, limit in _parse(text, known).items():
            if name in limits:
                raise ConfigError("budget", text, f"must set one limit on {name} only")
            limits[name] = limit
    flops, params = limits.pop("flops", None), limits.pop("params", None)
    memory = limits.pop("memory", None)
    latency_ms = {name[:-3]: ms for name, ms in limits.items()}
    return Budget(flops, params, latency_ms, tolerance, memory)


def read_budget(
    budget: str | Budget | Sequence[str], targets: Sequence[str], tolerance: float = 0.05
) -> Budget:
    """The budget that the user's words describe, or the user's own, which must fit the targets.

    Raises:
        ConfigError: As `parse_budget`; or the budget limits another target.
    """
    if not isinstance(budget, Budget):
        texts = [budget] if isinstance(budget, str) else budget
        if not (isinstance(texts, Sequence) and all(isinstance(text, str) for text in texts)):
            raise ConfigError("budget", budget, ALLOWED)
        return parse_budget(texts, targets, tolerance)
    for name in budget.latency_ms:
        if name not in targets:
            raise ConfigError("budget", name, f"must limit one of {', '.join(targets)}")
    return budget


def parse_duration(field: str, text: str) -> float:
    """The duration in seconds.

    Raises:
        ConfigError: If `text` is not a number above 0 with a unit s, m or h; names `field`.
    """
    form = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])", text.strip())
    if form is None or float(form[1]) == 0:
        raise ConfigError(field, text, "must be a number with a unit: 90s, 10m, 2h")
    return float(form[1]) * _SECONDS[form[2]]


def _parse(text: str, targets: list[str]) -> dict[str, float]:
    form = _FORM.fullmatch(text.strip())
    if form is None or float(form["number"]) == 0:
        raise ConfigError("budget", text, ALLOWED)
    number, target = float(form["number"]), form["target"]
    unit = re.sub("(?i: ?flops?)", "", form["unit"]).replace(" ", "")
    if target is not None and (unit != "ms" or target not in targets):
        raise ConfigError(
            "budget", text, f"must be TARGET=NUMBERms with one of {', '.join(targets)}"
        )
    if unit == "ms":
        return {f"{name}_ms": number for name in ([target] if target else targets)}
    if unit.endswith("B"):
        return {"memory": number * _SCALE[unit.removesuffix("B")]}
    if unit.endswith("params"):
        return {"params": number * _SCALE[unit.removesuffix("params")]}
    return {"flops": number * _SCALE[unit]}
