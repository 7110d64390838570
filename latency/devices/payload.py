"""What is sent to a device: the network in the form that the plan's runtime reads."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.families.published import hand_designed
from nas_sv2.space.networks.lowering import Network, lower

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_IMAGES = 4
"""Random images that the scales of int8 are taken from where none are given."""


@dataclass(frozen=True)
class Payload:
    """A network for a device.

    Attributes:
        architecture: Digest of the network, which measurements are filed under.
        body: An ONNX model, or for the runtime `torch` the network as JSON.
    """

    architecture: str
    body: bytes

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the body; the agent names what it measured by it."""
        return hashlib.sha256(self.body).hexdigest()


def payload_of(network: Network, plan: MeasurePlan, images: "np.ndarray | None" = None) -> Payload:
    """The network with random weights.

    Weights do not change the time of a network, so none need to be trained before it is measured;
    nor do the scales of int8.

    Args:
        network: What to send.
        plan: What it is made for.
        images: Float images `(N, C, H, W)` that the scales of int8 are taken from; random ones
            where they are not given.
    """
    if plan.runtime == "torch":
        from nas_sv2.space.networks.documents import network_to_json

        return Payload(network.digest, network_to_json(network).encode())
    # Imported here: onnx takes a quarter of a second, which a stored measurement can do without.
    from nas_sv2.space.runtimes.onnx_lowering import build_onnx
    from nas_sv2.space.runtimes.shuffle_free import without_shuffles
    from nas_sv2.space.runtimes.weights import random_weights

    graph = lower(network)
    weights = random_weights(graph, plan.seed)
    if plan.lowering == "shuffle_free":
        graph, weights = without_shuffles(graph, weights)
    body = build_onnx(graph, weights, plan.batch)
    if plan.precision == "int8":
        import numpy as np

        from nas_sv2.space.runtimes.quantization import quantized

        if images is None:
            side = network.resolution
            shape = (CALIBRATION_IMAGES, network.channels, side, side)
            images = np.random.default_rng(plan.seed).standard_normal(shape).astype(np.float32)
        body = quantized(body, images)
    return Payload(network.digest, body)


def reference_payload(plan: MeasurePlan) -> Payload | None:
    """The network that is timed in alternation; None where the plan names none."""
    return None if plan.reference is None else payload_of(hand_designed(plan.reference), plan)
