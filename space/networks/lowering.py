"""Descriptions of networks: their operators, and their files.

A network is an architecture of the space, a published network, one of an experiment or an ONNX
file, which describes itself.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_sv2.documents import (
    name_errors,
    parse_document,
    read_document,
    read_fields,
    strip_schema,
    to_yaml,
)
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import height_and_width
from nas_sv2.space.experiments.network import SCHEMA_KEY as EXPERIMENT_KEY
from nas_sv2.space.experiments.network import (
    ExperimentNetwork,
    experiment_from_document,
    experiment_to_document,
)
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.graph.peak_memory import PeakMemory, peak_memory_of
from nas_sv2.space.model_files.model_file import ModelFile
from nas_sv2.space.onnx_models.as_graph import as_graph
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.onnx_models.model_cost import model_cost, model_memory
from nas_sv2.space.units.architecture import FIRST_STAGE, Architecture
from nas_sv2.space.units.documents import architecture_from_document, architecture_to_document
from nas_sv2.space.units.shuffle_unit import basic_unit, downsample_unit

Classifier = Architecture | PaperNetwork
"""Networks that turn an image into logits of `classes` classes."""

Described = Classifier | ExperimentNetwork
"""These, and the networks of controlled experiments, which end in a map."""

Network = Described | OnnxModel | ModelFile
"""These, and files of the user's: for ONNX, LiteRT or ncnn."""


def lower(network: Network) -> Graph:
    """The operators of `network` at its own resolution, in running order.

    Raises:
        ConfigError: A node of an ONNX file differs from our operators; names it. Or the operators
            of a file are not known.
    """
    if isinstance(network, ModelFile):
        raise network.refuse()
    if isinstance(network, OnnxModel):
        return as_graph(network)
    if isinstance(network, Architecture):
        return lower_at(network, *height_and_width(network.resolution))
    return network.graph


def costs_of(network: Network) -> tuple[Cost, PeakMemory]:
    """Count the cost of a network on paper, and the most memory that it needs at once.

    Raises:
        ConfigError: A node of an ONNX file cannot be counted; names it.
    """
    if isinstance(network, OnnxModel):
        return model_cost(network), model_memory(network)
    graph = lower(network)
    return cost_of(graph), peak_memory_of(graph)


def lower_at(network: Classifier, height: int, width: int) -> Graph:
    """The operators of `network` on an image of another size, such as a detector's.

    Raises:
        ConfigError: The size leaves a map without a pixel.
    """
    if isinstance(network, PaperNetwork):
        return network.graph_at(height, width)
    if min(height, width) < network.total_stride:
        allowed = f"must have sides of at least the total stride, {network.total_stride}"
        raise ConfigError("image_size", f"{height}x{width}", allowed)
    return _lowered(network, Value("input", network.channels, height, width))


def _lowered(architecture: Architecture, image: Value) -> Graph:
    build, value = GraphBuilder(), image
    for index, width in enumerate(architecture.stem):
        stride = architecture.stem_stride if index == 0 else 1
        value = build.conv(f"stem.{index}", value, width, 3, stride=stride, activation="relu")
    if architecture.stem_pool:
        value = build.max_pool("stem.pool", value)
    for number, stage in enumerate(architecture.stages, FIRST_STAGE):
        name = f"stage{number}"
        value = downsample_unit(build, f"{name}.0", value, stage, architecture.downsample)
        for index in range(1, stage.depth):
            value = basic_unit(build, f"{name}.{index}", value, stage)
    value = build.conv("head.conv", value, architecture.head, activation="relu")
    value = build.global_average_pool("head.pool", value)
    value = build.linear("head.classifier", value, architecture.classes)
    return Graph(image, value, tuple(build.ops))


SCHEMA_KEY = "nas_sv2_network"
SCHEMA_VERSION = 1


def network_to_document(network: Described) -> dict[str, Any]:
    """Plain data that `network_from_document` reads back."""
    if isinstance(network, Architecture):
        return architecture_to_document(network)
    if isinstance(network, ExperimentNetwork):
        return experiment_to_document(network)
    return {SCHEMA_KEY: SCHEMA_VERSION, **dataclasses.asdict(network)}


def network_to_json(network: Described) -> str:
    """The document on one line."""
    return json.dumps(network_to_document(network))


def network_to_yaml(network: Described) -> str:
    """The document as YAML."""
    return to_yaml(network_to_document(network))


def network_from_document(document: object) -> Described:
    """The network that `document` describes.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    if isinstance(document, Mapping) and EXPERIMENT_KEY in document:
        return experiment_from_document(document)
    return classifier_from_document(document)


def classifier_from_document(document: object) -> Classifier:
    """The network that `document` describes, one that classifies images.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    if not isinstance(document, Mapping) or SCHEMA_KEY not in document:
        return architecture_from_document(document)
    return read_fields(PaperNetwork, strip_schema(document, SCHEMA_KEY, SCHEMA_VERSION))


def load_network(path: Path, field: str = "network") -> Classifier:
    """The network in a YAML or JSON file, one that classifies images.

    Args:
        path: The file.
        field: The parameter that names the file, for the error if it cannot be read.

    Raises:
        ConfigError: The file cannot be read, or describes no network.
    """
    return name_errors(f"{path}: ", classifier_from_document, read_document(path, field))


def network_in(path: Path, content: bytes) -> Classifier:
    """The same of a file that was read already; `path` names it in errors.

    Raises:
        ConfigError: The content describes no network.
    """
    return name_errors(f"{path}: ", classifier_from_document, parse_document(path, content))
