"""Networks as files: an architecture of the space, a published network, one of an experiment."""

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
from nas_sv2.space.experiments.network import SCHEMA_KEY as EXPERIMENT_KEY
from nas_sv2.space.experiments.network import (
    ExperimentNetwork,
    experiment_from_document,
    experiment_to_document,
)
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.networks.lowering import Classifier, Network
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document, architecture_to_document

SCHEMA_KEY = "nas_sv2_network"
SCHEMA_VERSION = 1


def network_to_document(network: Network) -> dict[str, Any]:
    """Plain data that `network_from_document` reads back."""
    if isinstance(network, Architecture):
        return architecture_to_document(network)
    if isinstance(network, ExperimentNetwork):
        return experiment_to_document(network)
    return {SCHEMA_KEY: SCHEMA_VERSION, **dataclasses.asdict(network)}


def network_to_json(network: Network) -> str:
    """The document on one line."""
    return json.dumps(network_to_document(network))


def network_to_yaml(network: Network) -> str:
    """The document for people."""
    return to_yaml(network_to_document(network))


def network_from_document(document: object) -> Network:
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


def load_network(path: Path) -> Classifier:
    """The network in a YAML or JSON file, one that classifies images.

    Raises:
        ConfigError: The file cannot be read, or describes no network.
    """
    return name_errors(f"{path}: ", classifier_from_document, read_document(path))


def network_in(path: Path, content: bytes) -> Classifier:
    """The same of a file that was read already; `path` names it in errors.

    Raises:
        ConfigError: The content describes no network.
    """
    return name_errors(f"{path}: ", classifier_from_document, parse_document(path, content))
