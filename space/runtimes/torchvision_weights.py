"""torchvision's published weights of ShuffleNet V2, MobileNet V2 and ResNets, under our names.

torchvision numbers the layers of a branch; we name them. The same shapes have the references
`torchvision_shufflenet_v2_*`, and `mobilenet_v2_*`, `resnet50_v1_5` and `resnext50_32x4d`.

Nothing is downloaded: the files are those that torchvision keeps in torch's folder of downloads.
"""

import hashlib
import io
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nas_sv2.errors import ConfigError
from nas_sv2.files import read_bounded
from nas_sv2.space.families.mobilenets import V2_LAYERS, v2_units
from nas_sv2.space.runtimes.weights import MOST_WEIGHT_BYTES, Array

_SHUFFLE_UNIT = {  # numbers in a unit's branches (torchvision/models/shufflenetv2.py)
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
_BOTTLENECK = {  # torchvision/models/resnet.py
    "conv1": "reduce.conv",
    "bn1": "reduce.norm",
    "conv2": "spatial.conv",
    "bn2": "spatial.norm",
    "conv3": "expand.conv",
    "bn3": "expand.norm",
    "downsample.0": "shortcut.conv",
    "downsample.1": "shortcut.norm",
}
_PROJECTED = {  # the last of an inverted residual's layers (torchvision/models/mobilenetv2.py)
    "0.0": "depthwise.conv",
    "0.1": "depthwise.norm",
    "1": "project.conv",
    "2": "project.norm",
}
_EXPANDED = {
    "0.0": "expand.conv",
    "0.1": "expand.norm",
    "1.0": "depthwise.conv",
    "1.1": "depthwise.norm",
    "2": "project.conv",
    "3": "project.norm",
}
_ONCE = {
    "conv1.0": "stem.0.conv",
    "conv1.1": "stem.0.norm",
    "conv5.0": "head.conv.conv",
    "conv5.1": "head.conv.norm",
    "fc": "head.classifier",
    "conv1": "stem.0.conv",
    "bn1": "stem.0.norm",
    "features.0.0": "stem.0.conv",
    "features.0.1": "stem.0.norm",
    "features.18.0": "head.conv.conv",
    "features.18.1": "head.conv.norm",
    "classifier.1": "head.classifier",
    **{
        f"features.{number}.conv.{theirs}": f"{unit}.{ours}"
        for number, (unit, expansion, _, _) in enumerate(v2_units(V2_LAYERS), 1)
        for theirs, ours in (_EXPANDED if expansion > 1 else _PROJECTED).items()
    },
}


def from_torchvision(state: Mapping[str, Array]) -> dict[str, Array]:
    """The same numbers as our lowerings take them.

    Args:
        state: A state dict of `torchvision.models.shufflenet_v2_*`, `mobilenet_v2` or a ResNet
            of bottlenecks, as arrays.

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
    if layer in _ONCE:
        return f"{_ONCE[layer]}.{part}"
    unit = re.fullmatch(r"(stage\d\.\d+)\.(branch\d\.\d)", layer)
    if unit and unit[2] in _SHUFFLE_UNIT:
        return f"{unit[1]}.{_SHUFFLE_UNIT[unit[2]]}.{part}"
    block = re.fullmatch(r"layer(\d)(\.\d+)\.(.+)", layer)
    if block and block[3] in _BOTTLENECK:  # their layer1 is the paper's conv2_x, our stage 2
        return f"stage{int(block[1]) + 1}{block[2]}.{_BOTTLENECK[block[3]]}.{part}"
    allowed = "must be a name of torchvision's shufflenet_v2, mobilenet_v2 or resnet models"
    raise ConfigError("weights", name, allowed)


KIND = "torchvision"
STATE_ENDINGS = (".pth", ".pt")


def published_state(name: str) -> dict[str, Array]:
    """Return torchvision's published weights under our names, if they were downloaded.

    Args:
        name: A model, as `shufflenet_v2_x1_0`, for its default weights, or weights by their own
            name, as `ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1`.

    Raises:
        ConfigError: There are no such weights, they were not downloaded, or the file is damaged:
            its name ends with the first digits of its SHA-256, as torch.hub checks them.
    """
    from torch.hub import get_dir
    from torchvision.models import get_model_weights, get_weight

    word = f"{KIND}:{name}"
    try:
        found = get_weight(name) if "." in name else get_model_weights(name).DEFAULT
    except (LookupError, ValueError, AttributeError):
        allowed = "must name a model or weights of torchvision, as torchvision:shufflenet_v2_x1_0"
        raise ConfigError("weights", word, allowed) from None
    file = Path(get_dir(), "checkpoints", Path(urlsplit(found.url).path).name)
    if not os.path.isfile(file):
        allowed = (
            f"must have been downloaded: {file.name} is not in {file.parent}; see {found.url}"
        )
        raise ConfigError("weights", word, allowed)
    named = re.search(r"-([0-9a-f]{8,64})$", file.stem)
    return read_state(file, named[1] if named else "")


def read_state(file: Path, sha256: str = "") -> dict[str, Array]:
    """Return the arrays of a file of torchvision's weights, under our names.

    Args:
        file: The file.
        sha256: The first digits of its SHA-256, as far as they are known.

    Raises:
        ConfigError: It cannot be read, is damaged, holds other than tensors, or has a name that
            torchvision's models do not have.
    """
    import torch

    try:
        content = read_bounded(file, MOST_WEIGHT_BYTES)
        if not hashlib.sha256(content).hexdigest().startswith(sha256):
            raise ValueError("its SHA-256 is not the one in its name")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
            raise ValueError("it holds other than tensors by name")
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        allowed = f"must be a readable file of a torch state dict ({reason})"
        raise ConfigError("weights", str(file), allowed) from None
    return from_torchvision({name: one.float().numpy() for name, one in state.items()})
