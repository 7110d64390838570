"""A detector as a value, and the torch module that it describes.

A module has the interface of torchvision's detectors. It takes a list of images (3, H, W) with
levels from 0 to 1. In training it also takes a list of targets, and gives losses. In evaluation it
gives boxes, labels and scores.
"""

import hashlib
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas_sv2.documents import Positive, Side, check_choice, check_fields
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.detection import light_head, ssdlite
from nas_sv2.evaluate.fitting.determinism import stream
from nas_sv2.evaluate.fitting.start import Start, Taken
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Value
from nas_sv2.space.networks.lowering import Classifier
from nas_sv2.space.networks.trunk import Trunk, trunk_of
from nas_sv2.space.runtimes.torch_lowering import GraphModule, build_module

HEADS = ("light-head", "ssdlite")


@dataclass(frozen=True, slots=True)
class DetectorForm:
    """The head and the size of the images, which the candidates of a search have in common.

    Attributes:
        head: `light-head` (Light-Head R-CNN) or `ssdlite`.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.

    Raises:
        ConfigError: A value that no detector can have; names the field.
    """

    head: str
    height: Side
    width: Side

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        check_choice("head", self.head, HEADS)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `str` gives.

        Raises:
            ConfigError: It is something else.
        """
        found = re.fullmatch(r"([a-z-]+) (\d{1,5})x(\d{1,5})", text)
        if found is None:
            raise ConfigError("detector", text, "must be HEAD HxW, as ssdlite 96x128")
        return cls(found[1], int(found[2]), int(found[3]))

    def __str__(self) -> str:
        """`ssdlite 96x128`."""
        return f"{self.head} {self.height}x{self.width}"

    def on(self, network: Classifier, classes: int) -> "Detector":
        """Return the detector on a backbone; see `Detector` for the errors."""
        return Detector(network, self.head, self.height, self.width, classes)


@dataclass(frozen=True)
class Detector:
    """A backbone, a head, and the size of the images.

    Attributes:
        network: The classifier whose trunk is the backbone.
        head: `light-head` (Light-Head R-CNN) or `ssdlite`.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        classes: Number of categories, without the background.

    Raises:
        ConfigError: A value that no detector can have; names the field.
    """

    network: Classifier
    head: str
    height: Side
    width: Side
    classes: Positive

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        check_choice("head", self.head, HEADS)
        if self.network.channels != 3:
            allowed = "must be 3: a detector reads colour images"
            raise ConfigError("channels", self.network.channels, allowed)

    @cached_property
    def trunk(self) -> Trunk:
        """The backbone's operators at the size of the images."""
        return trunk_of(self.network, self.height, self.width)

    @property
    def flops(self) -> int:
        """Multiply-adds of the whole detector on an image: those of backbone and head."""
        return cost_of(self.trunk.graph).flops + self.head_flops

    @cached_property
    def head_flops(self) -> int:
        """Multiply-adds of the head on an image, in convolutions and fully connected layers.

        Those of Light-Head R-CNN are for as many regions as it may have, mostly 1000. Decoding,
        pooling and suppression of boxes have none that count.
        """
        run = light_head.run_layers if self.head == "light-head" else ssdlite.run_layers
        ends = {"middle": self.trunk.body.output, "last": self.trunk.tail.output}
        with torch.device("meta"), torch.no_grad():  # shapes alone
            module = _headed(nn.Identity(), self.trunk, self).eval()
            with FlopCounterMode(display=False) as counter:
                run(module, {name: _empty(value) for name, value in ends.items()})
        found: int = counter.get_total_flops() // 2  # additions count there beside products
        return found

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content."""
        fields = {**asdict(self), "network": self.network.digest}
        return hashlib.sha256(repr(sorted(fields.items())).encode()).hexdigest()[:16]


class Backbone(nn.Module):
    """A trunk that gives both of its maps; its state has the names of the classifier's weights."""

    def __init__(self, trunk: Trunk, generator: torch.Generator) -> None:
        """Build the layers, with numbers from `generator`."""
        super().__init__()
        self.body: GraphModule = build_module(trunk.body, generator)
        self.tail: GraphModule = build_module(trunk.tail, generator)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to the maps before and after the last stage."""
        middle = self.body(images)
        return {"middle": middle, "last": self.tail(middle)}

    def take(self, start: Start, trunk: Trunk) -> Taken:
        """Take the weights of a classifier in place of fresh ones.

        Raises:
            ConfigError: They are of another network.
        """
        taken = start.check(trunk.graph)
        for part in (self.body, self.tail):
            state = part.state_dict()
            given = {name: torch.from_numpy(start.weights[name]) for name in taken.names}
            part.load_state_dict(state | {name: given[name] for name in state.keys() & given})
        return taken


def build_detector(detector: Detector, seed: int = 0) -> nn.Module:
    """Build the module of `detector`, with numbers that follow from `seed` alone.

    Raises:
        ConfigError: The images are too small for the backbone.
    """
    trunk = detector.trunk
    backbone = Backbone(trunk, stream(seed, "weights"))
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
        torch.default_generator.manual_seed(stream(seed, "head").initial_seed())
        return _headed(backbone, trunk, detector)


def _headed(backbone: nn.Module, trunk: Trunk, detector: Detector) -> nn.Module:
    head = light_head.light_head_rcnn if detector.head == "light-head" else ssdlite.ssdlite
    return head(backbone, trunk, detector.classes)


def _empty(value: Value) -> Tensor:
    return torch.empty(1, value.channels, value.height, value.width)
