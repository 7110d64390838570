"""The kernels that a runtime ran for an ONNX file of the user's, with the kinds of `run_kernels`.

The runtime names a kernel after a node, or after the value that the node writes. A kernel of a
convolution counts as one, whatever was fused to it and whatever node it is named after. A file
does not say what its blocks are, so it is one block.
"""

from collections.abc import Iterable, Mapping

from nas_sv2.latency.kernels.run_kernels import ENDINGS, RunKernel, RunKind, inserted_kind
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.onnx_models.model_cost import ELEMENTWISE, VIEWS, WEIGHT_OF, is_depthwise
from nas_sv2.space.onnx_models.nodes import QUANTISING, ModelNode

WHOLE = "network"
"""The only block of a file."""
MOVES = VIEWS | {
    *("Concat", "DepthToSpace", "Expand", "Gather", "Pad", "Slice", "SpaceToDepth", "Split"),
    *("Tile", "Transpose"),
}


def kernels_of_model(model: OnnxModel, nodes: Iterable[NodeTime]) -> tuple[RunKernel, ...]:
    """Return the kernels that ran, in order, each with the node of the file that it carries out.

    Raises:
        ConfigError: A shape of the file cannot be inferred; names the node.
    """
    makers = {tensor.name: node for node in model.graph.nodes for tensor in node.outputs}
    named = makers | {node.name: node for node in model.graph.nodes}
    kernels = []
    for ran in nodes:
        node = named.get(ran.name, named.get(ENDINGS.sub("", ran.name)))
        ops = () if node is None else (node.name,)
        kind = _kind(ran, node, makers)
        kernels.append(RunKernel((*ops, ran.name)[0], ran.operator, ops, WHOLE, kind, ran.us))
    return tuple(kernels)


def _kind(ran: NodeTime, node: ModelNode | None, makers: Mapping[str, ModelNode]) -> RunKind:
    if "Conv" in ran.operator or (node is not None and node.operator in WEIGHT_OF):
        place = {each.name: number for number, each in enumerate(makers.values())}
        while node is not None and node.operator not in WEIGHT_OF:  # what was fused behind it
            before = [makers[one.name] for one in node.reads if one.name in makers]
            node = max(before, key=lambda each: place[each.name], default=None)
        return "conv" if node is None or not is_depthwise(node) else "depthwise"
    if node is None:
        return inserted_kind(ran)
    if node.operator in QUANTISING:
        return "data"
    if node.operator in ELEMENTWISE:
        return "element-wise"
    return "shuffle" if node.operator in MOVES else "other"
