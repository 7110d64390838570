"""The facts that comparable measurements share: machine, system, runtime.

They give the keys under which facts about a target are stored.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas_sv2.latency.measurements.plan import Lowering, MeasurePlan

ARM_PARTS = {
    "0x41/0xd03": "Cortex-A53",
    "0x41/0xd05": "Cortex-A55",
    "0x41/0xd07": "Cortex-A57",
    "0x41/0xd08": "Cortex-A72",
    "0x41/0xd09": "Cortex-A73",
    "0x41/0xd0a": "Cortex-A75",
    "0x41/0xd0b": "Cortex-A76",
    "0x41/0xd0c": "Neoverse-N1",
    "0x41/0xd40": "Neoverse-V1",
    "0x41/0xd49": "Neoverse-N2",
}
"""Names of common ARM cores by implementer and part number, the only names that Linux gives."""


@dataclass(frozen=True)
class Fingerprint:
    """The facts that comparable measurements share: machine, system, runtime.

    Attributes:
        facts: The facts by the agent's names (`agent.fingerprint`). Clocks, loads and
            temperatures are not among them, because they change from minute to minute.
    """

    facts: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name the content."""
        text = json.dumps(dict(self.facts), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self, plan: MeasurePlan) -> str:
        """Describe processor, runtime, threads, CPU quota and batch in one line."""
        facts = self.facts
        processor = str(facts.get("gpu") or facts.get("cpu"))
        cores = ", ".join(map(str, plan.affinity or ()))
        fp32 = plan.precision == "fp16" and not facts.get("fp16_arithmetic", True)
        parts = [
            " ".join(ARM_PARTS.get(word, word) for word in processor.split()),
            f"{facts['runtime']} {facts['runtime_version']}",
            f"provider {plan.provider}" if plan.provider else "",
            f"{plan.threads} thread{'s' if plan.threads > 1 else ''}",
            f"on cores {cores}" if cores else "",
            f"CPU quota {facts['cpu_quota']} cores" if "cpu_quota" in facts else "",
            f"batch {plan.batch}",
            "" if plan.precision == "fp32" else plan.precision,
            "computed in fp32" if fp32 else "",
        ]
        return " · ".join(filter(None, parts))


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values that differ between two mappings, by name; None for a missing value."""
    names = dict.fromkeys([*one, *other])
    pairs = {name: (one.get(name), other.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True, slots=True)
class TargetIdentity:
    """The device behind a target and the way in which networks are timed on it.

    Attributes:
        device: Key of the device and its runtime, or digest of the table of an emulated core.
        protocol: Key of the plan of a measurement, or the form that an emulated core prices.
        lowering: The form in which a network runs there.
        description: The device in words, as the target's latencies name it.
    """

    device: str
    protocol: str
    lowering: Lowering
    description: str
