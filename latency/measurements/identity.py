"""The keys under which facts about a target are stored."""

from dataclasses import dataclass

from nas_sv2.latency.measurements.plan import Lowering


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
