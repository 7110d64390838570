"""A teacher as a field of a recipe: the network whose answers a training learns too.

The digest of its content is part of the recipe, so that figures learnt from different teachers are
never taken for each other. The path is not: a teacher that was moved is the same.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nas_sv2.documents import AboveZero, PositiveShare, check_fields
from nas_sv2.errors import ConfigError
from nas_sv2.files import read_bounded
from nas_sv2.plug_ins import is_plug_in, load_plug_in
from nas_sv2.space.runtimes.weights import MOST_WEIGHT_BYTES

ENDING = ".onnx"
FOLDER_FILES = ("architecture.yaml", "trained.yaml", "weights.safetensors", "card.json")
"""The files of an exported network that say what it answers; the second may be missing."""
TEMPERATURE = 4.0
Input = Literal["data", "imagenet", "unit", "levels"]


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained network with the classes of the data, and how much it is listened to.

    The loss is (1 - `share`) · L + `share` · T² · KL(teacher ∥ student). L is the loss against the
    labels. Both sides of the divergence are softmax(logits / T), with T the `temperature` (Hinton,
    Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015). The defaults are those
    of the comparison of Tian, Krishnan and Isola (ICLR 2020).

    Several labels have sigmoid(logits / T), and the mean over the labels of each one's divergence
    (Yang et al., "Multi-Label Knowledge Distillation", ICCV 2023). For numbers the mean absolute
    difference of the answers takes the place of T² · KL, in standard deviations as L is.

    Attributes:
        model: A folder of an exported network, `FILE.onnx`, or the `module:attribute` of a torch
            module.
        temperature: T.
        share: Weight of the teacher's answers in the loss.
        input: Form of the images that it takes. `data`: normalised by the training images, as the
            student's; `imagenet`: by torchvision's mean and deviation; `unit`: 0 to 1; `levels`: 0
            to 255. Exported networks know theirs, and must have `data`.
        digest: 16 hexadecimal digits of its content; found when a recipe is opened.
    """

    model: str
    temperature: AboveZero = TEMPERATURE
    share: PositiveShare = 0.9
    input: Input = "data"
    digest: str = ""

    def __post_init__(self) -> None:
        """Refuse impossible values, naming the field."""
        check_fields(self)


def content_digest(model: str) -> str:
    """16 hexadecimal digits that name the content of a teacher.

    Raises:
        ConfigError: There is no such teacher.
    """
    path = Path(model)
    if os.path.isdir(path):
        content = b"".join(_content(path / name) for name in FOLDER_FILES[2:])
        described = path / FOLDER_FILES[1]
        content += _content(described if os.path.exists(described) else path / FOLDER_FILES[0])
    elif path.suffix.lower() == ENDING:
        content = _content(path)
    elif is_plug_in(model):
        return _digest_of_module(teacher_module(model))
    else:
        allowed = "must be a folder of an exported network, FILE.onnx or module:attribute"
        raise ConfigError("teacher", model, allowed)
    return hashlib.sha256(content).hexdigest()[:16]


def teacher_module(model: str) -> Any:
    """Import the torch module that `module:attribute` names, or that it returns.

    Raises:
        ConfigError: There is none.
    """
    from torch import nn

    found = load_plug_in("teacher", model, "state_dict")
    if not isinstance(found, nn.Module):
        allowed = f"must be a torch module, or return one; it is a {type(found).__name__}"
        raise ConfigError("teacher", model, allowed)
    return found


def _digest_of_module(module: Any) -> str:
    import torch

    content = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        content.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        levels = tensor.detach().cpu().contiguous().reshape(-1)
        content.update(levels.view(torch.uint8).numpy())  # numpy has no bfloat16
    return content.hexdigest()[:16]


def _content(path: Path) -> bytes:
    try:
        return read_bounded(path, MOST_WEIGHT_BYTES)
    except OSError as error:
        allowed = f"must be readable: {path.name} is not ({error.strerror or error})"
        raise ConfigError("teacher", str(path), allowed) from None
