"""The networks that the paper compares with, by name: costed, trained, measured like any other.

Families of one lineage share a file, which gives their structures.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from nas_sv2.documents import Channels, Classes, check_fields
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import Resolution, height_and_width, read_resolution
from nas_sv2.space.families.mobilenets import IGCV2, IGCV3, MOBILENET_V1, MOBILENET_V2
from nas_sv2.space.families.searched_cells import NASNET, PNASNET
from nas_sv2.space.families.skip_connections import (
    CONDENSENET,
    LIGHT_DENSENET,
    LIGHT_XCEPTION,
    RESNETS,
    SHUFFLENET_V1,
)
from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import REFERENCES, reference, unknown_network, width_named

STRUCTURES: Mapping[str, Structure] = {
    **SHUFFLENET_V1,
    **MOBILENET_V1,
    **MOBILENET_V2,
    **LIGHT_XCEPTION,
    **LIGHT_DENSENET,
    **IGCV2,
    **IGCV3,
    **RESNETS,
    **CONDENSENET,
    **NASNET,
    **PNASNET,
}


@dataclass(frozen=True)
class PaperNetwork:
    """A network of `STRUCTURES`, with the input and the classes it shall have.

    Attributes:
        name: Its key there.
        resolution: Side of the square input, or its height and width, so that the input is
            (N, channels, height, width).
        channels: Input channels.
        classes: Output classes.

    Raises:
        ConfigError: There is none of that name, or a number is below 1.
    """

    name: str
    resolution: Resolution = 224
    channels: Channels = 3
    classes: Classes = 1000

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        object.__setattr__(self, "resolution", read_resolution("resolution", self.resolution))
        if self.name not in STRUCTURES:
            raise unknown_network(self.name, [*REFERENCES, *STRUCTURES])

    @property
    def structure(self) -> Structure:
        """Its structure."""
        return STRUCTURES[self.name]

    @cached_property
    def graph(self) -> Graph:
        """Its operators.

        Raises:
            ConfigError: The resolution leaves a map without a pixel.
        """
        return self.graph_at(*height_and_width(self.resolution))

    def graph_at(self, height: int, width: int) -> Graph:
        """Its operators on an image of another size, such as a detector's.

        Raises:
            ConfigError: The size leaves a map without a pixel.
        """
        build = GraphBuilder()
        image = Value("input", self.channels, height, width)
        logits = self.structure.build(build, image, self.classes)
        for op in build.ops:
            if min(op.output.height, op.output.width) < 1:
                allowed = f"must be larger: {self.name} has no pixel left at {op.name}"
                raise ConfigError("image_size", f"{height}x{width}", allowed)
        return Graph(image, logits, tuple(build.ops))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the operators; the key of every cache."""
        return hashlib.sha256(repr(self.graph).encode()).hexdigest()[:16]


def published_network(name: str) -> Architecture | PaperNetwork:
    """The network of that name: of the space (`REFERENCES`) or of another family.

    Raises:
        ConfigError: There is none; names the closest.
    """
    if name in STRUCTURES:
        return PaperNetwork(name, STRUCTURES[name].resolution)
    if name in REFERENCES or width_named(name) is not None:
        return reference(name)
    raise unknown_network(name, [*REFERENCES, *STRUCTURES])


def full_name(name: str) -> str:
    """Return the name of ShuffleNet V2 at a width such as `1x` or `0.35x`; others as they are."""
    width = re.fullmatch(r"(\d)(?:\.(\d{1,4}))?x", name)
    return name if width is None else f"shufflenet_v2_x{width[1]}_{width[2] or 0}"
