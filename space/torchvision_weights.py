"""torchvision's published ShuffleNet V2 weights, under our names.

torchvision numbers the layers of a branch; we name them. Only the `torchvision_shufflenet_v2_*`
references have the same shapes.
"""

import re
from collections.abc import Mapping

from nas_sv2.errors import ConfigError
from nas_sv2.space.weights import Array

_LAYERS = {  # torchvision's numbers in a unit's branches (torchvision/models/shufflenetv2.py)
    "branch1.0": "shortcut.depthwise.conv",
    "branch1.1": "shortcut.depthwise.norm",
    "branch1.2": "shortcut.project.conv",
    "branch1.3": "shortcut.project.norm",
    "branch2.0": "main.expand.conv",
    "branch2.1": "main.expand.norm",
    "branch2.3": "main.depthwise.conv",
    "branch2.4": "main.depthwise.norm",
    "branch2.5": "main.project.conv",
    "branch2.6": "main.project.norm",
}
_ENDS = {
    "conv1.0": "stem.0.conv",
    "conv1.1": "stem.0.norm",
    "conv5.0": "head.conv.conv",
    "conv5.1": "head.conv.norm",
    "fc": "head.classifier",
}


def from_torchvision(state: Mapping[str, Array]) -> dict[str, Array]:
    """The same numbers as our lowerings take them.

    Args:
        state: A state dict of `torchvision.models.shufflenet_v2_*`, as arrays.

    Raises:
        ConfigError: A name that those models do not have.
    """
    return {
        _renamed(name): array
        for name, array in state.items()
        if not name.endswith("num_batches_tracked")
    }


def _renamed(name: str) -> str:
    layer, _, part = name.rpartition(".")
    if layer in _ENDS:
        return f"{_ENDS[layer]}.{part}"
    unit = re.fullmatch(r"(stage\d\.\d+)\.(branch\d\.\d)", layer)
    if unit and unit[2] in _LAYERS:
        return f"{unit[1]}.{_LAYERS[unit[2]]}.{part}"
    raise ConfigError("weights", name, "a name of torchvision's shufflenet_v2 models")
