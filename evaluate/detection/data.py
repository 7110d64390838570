"""Opens the data of a detector that a user's spec names."""

import os
from collections.abc import Callable
from pathlib import Path

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.detection.coco import open_coco
from nas_sv2.evaluate.detection.drawn import open_drawn
from nas_sv2.evaluate.detection.scenes import SceneData

SPECS = "must be drawn (the demo data of detection) or coco:PATH"


def open_scenes(spec: str, notify: Callable[[str], None] = lambda line: None) -> SceneData:
    """Open the data set with boxes that `spec` names.

    Args:
        spec: The user's text.
        notify: Is called with a line before many files are read.

    Raises:
        ConfigError: The spec is unknown, or an annotation is not allowed.
        EvaluationError: The demo drawings are missing, or the user has no home for a cache.
    """
    name, _, where = spec.partition(":")
    if spec == "drawn":
        return open_drawn()
    if name == "coco" and where:
        return open_coco(spec, Path(os.path.expanduser(where)), notify)
    raise ConfigError("data", spec, SPECS)
