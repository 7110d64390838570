"""What is sent to a device: the network in the form that the plan's runtime reads."""

from nas_sv2.latency.plan import MeasurePlan
from nas_sv2.space import Architecture, lower


def payload_of(architecture: Architecture, plan: MeasurePlan) -> bytes:
    """An ONNX model with random weights, or for the runtime `torch` the architecture as JSON.

    Weights do not change the time of a network, so none need to be trained before it is measured.
    """
    if plan.runtime == "torch":
        from nas_sv2.space.documents import architecture_to_json

        return architecture_to_json(architecture).encode()
    # Imported here: onnx takes a quarter of a second, which a stored measurement can do without.
    from nas_sv2.space.onnx_lowering import build_onnx
    from nas_sv2.space.shuffle_free import without_shuffles
    from nas_sv2.space.weights import random_weights

    graph = lower(architecture)
    weights = random_weights(graph, plan.seed)
    if plan.lowering == "shuffle_free":
        graph, weights = without_shuffles(graph, weights)
    return build_onnx(graph, weights, plan.batch)
