"""How long a network takes, and how that is known.

Only light names are handed on; the database (`nas_sv2.latency.store`) and the runtimes are
imported where they are used.
"""

from nas_sv2.latency.fingerprint import Fingerprint
from nas_sv2.latency.measurement import Latency, Measurement
from nas_sv2.latency.plan import MeasurePlan
from nas_sv2.latency.targets import Target, TargetInfo, describe_targets, open_target

__all__ = [
    "Fingerprint",
    "Latency",
    "MeasurePlan",
    "Measurement",
    "Target",
    "TargetInfo",
    "describe_targets",
    "open_target",
]
