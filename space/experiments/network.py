"""Networks of controlled experiments: a block, again and again, on a map of one size.

They are lowered, costed and measured like any other network, but classify nothing: but for that
of a `Head`, their output is a map.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from nas_sv2.documents import Side, Units, check_choice, check_fields, read_fields, strip_schema
from nas_sv2.errors import ConfigError
from nas_sv2.space.experiments.blocks import (
    Block,
    Bottleneck,
    MovedPointwise,
    ShrinkingUnit,
    Unit,
    channels_of,
)
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value

SCHEMA_KEY = "nas_sv2_experiment"
SCHEMA_VERSION = 1

KINDS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(Block)}


@dataclass(frozen=True)
class ExperimentNetwork:
    """`repeats` blocks one after the other; equal descriptions have equal `digest`s.

    Attributes:
        block: The block that is repeated.
        resolution: Side of the square map that enters, so that the input is (N, channels, side,
            side).
        repeats: How often.

    Raises:
        ConfigError: A value that no network can have; names the field.
    """

    block: Block
    resolution: Side = 56
    repeats: Units = 10

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        enter, leave = channels_of(self.block)
        if self.repeats > 1 and enter != leave:
            allowed = f"must be 1, because {enter} channels enter the block and {leave} leave it"
            raise ConfigError("repeats", self.repeats, allowed)

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return channels_of(self.block)[0]

    @cached_property
    def graph(self) -> Graph:
        """Its operators.

        A convolution before the first block writes the map that a shortcut adds or a unit moves.
        Another one behind the last block reads it, as in a whole network. Otherwise the runtime
        would keep every block in the layout of the input. Moves could not be folded away
        (`shuffle_free`).
        """
        build = GraphBuilder()
        source = Value("input", self.channels, self.resolution, self.resolution)
        value = source
        if isinstance(self.block, Bottleneck | MovedPointwise):
            value = build.conv("first", value, value.channels, 3, depthwise=True)
        elif isinstance(self.block, Unit):
            value = build.conv("first", value, value.channels, activation="relu")
        for index in range(self.repeats):
            value = self.block.append(build, f"stage.{index}", value)
        if isinstance(self.block, Unit | ShrinkingUnit):
            value = build.conv("last", value, value.channels, activation="relu")
        return Graph(source, value, tuple(build.ops))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content; the key of every cache."""
        return hashlib.sha256(repr((self, self.graph)).encode()).hexdigest()[:16]


def experiment_to_document(network: ExperimentNetwork) -> dict[str, Any]:
    """Plain data that `experiment_from_document` reads back."""
    return {
        SCHEMA_KEY: SCHEMA_VERSION,
        **dataclasses.asdict(network),
        "block": {"kind": type(network.block).__name__, **dataclasses.asdict(network.block)},
    }


def experiment_from_document(document: object) -> ExperimentNetwork:
    """The network that `document` describes.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    data = dict(strip_schema(document, SCHEMA_KEY, SCHEMA_VERSION))
    if "block" in data:
        block = data["block"] if isinstance(data["block"], Mapping) else {}
        kind: Any = block.get("kind")
        check_choice("block.kind", kind, tuple(KINDS))
        fields = {name: value for name, value in block.items() if name != "kind"}
        data["block"] = read_fields(KINDS[kind], fields, "block")
    return read_fields(ExperimentNetwork, data)
