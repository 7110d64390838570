"""Networks in the form that the plan's runtime reads, to be sent to a device."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.resolution import height_and_width
from nas_sv2.space.families.published import published_network
from nas_sv2.space.model_files.model_file import ModelFile, join_ncnn
from nas_sv2.space.networks.lowering import Described, Network, lower, network_to_json
from nas_sv2.space.onnx_models.model import OnnxModel

if TYPE_CHECKING:
    import numpy as np

    from nas_sv2.space.graph.operators import Graph
    from nas_sv2.space.runtimes.weights import Weights

CALIBRATION_IMAGES = 4
"""Number of random images that give the scales of int8 if no images are given."""


@dataclass(frozen=True)
class Payload:
    """A network for a device.

    Attributes:
        architecture: Digest of the network, under which measurements are stored.
        body: An ONNX model, a `.tflite` file for LiteRT, the files of ncnn as `join_ncnn` joins
            them, or for torch the network as JSON.
    """

    architecture: str
    body: bytes

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the body; the agent's answers name networks by it."""
        return hashlib.sha256(self.body).hexdigest()


def payload_of(network: Network, plan: MeasurePlan, images: "np.ndarray | None" = None) -> Payload:
    """Build the payload of a network with random weights.

    Neither weights nor the scales of int8 change the time of a network, so no network is trained
    before it is measured.

    Args:
        network: The network to send. A file is sent as it is.
        plan: The plan by which it will be measured.
        images: Float images `(N, C, H, W)` that give the scales of int8; random ones if None.

    Raises:
        ConfigError: The plan asks for another form of a file.
    """
    if isinstance(network, OnnxModel | ModelFile):
        return _as_it_is(network, plan)
    if plan.runtime == "torch":
        return Payload(network.digest, network_to_json(network).encode())
    # Imported here: onnx takes a quarter of a second, and a stored measurement does not need it.
    from nas_sv2.space.runtimes.shuffle_free import without_shuffles
    from nas_sv2.space.runtimes.weights import random_weights

    graph = lower(network)
    weights = random_weights(graph, plan.seed)
    if plan.lowering == "shuffle_free":
        graph, weights = without_shuffles(graph, weights)
    if plan.precision != "int8":
        images = None
    elif images is None:
        images = _random_images(network, plan.seed)
    if plan.runtime == "litert":
        return Payload(network.digest, _tflite_body(graph, weights, plan.batch, images))
    if plan.runtime == "ncnn":
        from nas_sv2.space.runtimes.ncnn_lowering import build_ncnn
        from nas_sv2.space.runtimes.quantization import largest_inputs

        largest = None if images is None else largest_inputs(graph, weights, images)
        files = build_ncnn(graph, weights, largest)
        return Payload(network.digest, join_ncnn(files.param, files.weights))
    from nas_sv2.space.runtimes.onnx_lowering import build_onnx

    body = build_onnx(graph, weights, plan.batch)
    if images is not None:
        from nas_sv2.space.runtimes.quantization import quantize

        body = quantize(body, images)
    return Payload(network.digest, body)


def _tflite_body(
    graph: "Graph", weights: "Weights", batch: int, images: "np.ndarray | None"
) -> bytes:
    from nas_sv2.space.runtimes.tflite_int8 import find_scales, quantize_tflite
    from nas_sv2.space.runtimes.tflite_lowering import build_tflite

    body = build_tflite(graph, weights, batch)
    return body if images is None else quantize_tflite(body, find_scales(body, images))


def _random_images(network: Described, seed: int) -> "np.ndarray":
    import numpy as np

    shape = (CALIBRATION_IMAGES, network.channels, *height_and_width(network.resolution))
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _as_it_is(model: OnnxModel | ModelFile, plan: MeasurePlan) -> Payload:
    """Return a file's payload; refuse a plan by which something else would be measured."""
    runtime = "onnxruntime" if isinstance(model, OnnxModel) else model.runtime
    if plan.runtime != runtime:
        sentence = f"must be {runtime} to run {model.file}; choose a target with {runtime}"
        raise ConfigError("runtime", plan.runtime, sentence)
    # fp16 is how ncnn computes with the numbers of a file, and its default.
    if plan.precision not in ("fp32", *(("fp16",) if runtime == "ncnn" else ())):
        sentence = f"must be left out: {model.file} is run as it is; quantise the file instead"
        raise ConfigError("precision", plan.precision, sentence)
    if isinstance(model, OnnxModel) and plan.batch != model.batch:
        sentence = f"must be {model.batch}, the first size of the inputs of {model.file}"
        raise ConfigError("batch", plan.batch, sentence)
    return Payload(model.digest, model.body)


def reference_payload(plan: MeasurePlan) -> Payload | None:
    """Build the plan's reference network; None if the plan names none."""
    return None if plan.reference is None else payload_of(published_network(plan.reference), plan)
