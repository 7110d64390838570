"""Architectures as YAML or JSON (which YAML includes), with a schema version."""

import dataclasses
from typing import Any

from nas_sv2.documents import read_fields, strip_schema, to_yaml
from nas_sv2.space.units.architecture import Architecture

SCHEMA_KEY = "nas_sv2_architecture"
SCHEMA_VERSION = 1


def architecture_to_document(architecture: Architecture) -> dict[str, Any]:
    """Plain data that `architecture_from_document` reads back; the canonical form."""
    document = {SCHEMA_KEY: SCHEMA_VERSION, **dataclasses.asdict(architecture)}
    document["stem"] = list(architecture.stem)
    document["stages"] = [
        {**dataclasses.asdict(stage), "split": str(stage.split)} for stage in architecture.stages
    ]
    return document


def architecture_to_yaml(architecture: Architecture) -> str:
    """The canonical form as YAML, one stage a line."""
    return to_yaml(architecture_to_document(architecture))


def architecture_from_document(document: object) -> Architecture:
    """The architecture that `document` describes.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    return read_fields(Architecture, strip_schema(document, SCHEMA_KEY, SCHEMA_VERSION))
