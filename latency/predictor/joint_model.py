"""The bag: networks of a space side by side in one model, with every node timed.

The nodes of a network repeat. 16 networks of few units have 700 different nodes, which cover most
of a space in one model that runs for a few seconds. The nodes run in the same order as in
networks, so that the runtime's inserted nodes, such as changes of layout, are timed too.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import compose

from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.kernels.node_costs import Piece, pieces_of
from nas_sv2.latency.kernels.node_places import placed
from nas_sv2.latency.measurements.node_time import NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.spread_sampling import spread
from nas_sv2.space.units.architecture import Architecture

BAG_NETWORKS = 16
"""The networks of a bag.

On one x86 host with 60 measured networks, bags of 8, 16, 24 and 32 left errors of 4.4, 2.3, 2.6
and 2.4 % (standard deviation). From 16 on, the bag does not limit the fit."""
BAG_DEPTH = 3
"""Units of a stage in the bag; further units repeat the nodes of the first three."""
MODEL_BYTES = 400e6
"""The most bytes of one model; a bag of large networks is split into several models."""


@dataclass(frozen=True)
class Bag:
    """Networks whose nodes are timed.

    Attributes:
        networks: The networks, in the order of the model.
        plan: The plan that they are built for.
    """

    networks: Sequence[Architecture]
    plan: MeasurePlan

    @classmethod
    def of_space(cls, space: SearchSpace, plan: MeasurePlan, seed: int) -> "Bag":
        """Make a bag of networks spread over `space`, with few units in each stage."""
        networks = spread(space, BAG_NETWORKS, seed)
        return cls([_shallow(network) for network in networks], plan)

    @cached_property
    def pieces(self) -> list[Piece]:
        """All kernels, network by network."""
        return [piece for pieces in self._pieces_by_network for piece in pieces]

    @cached_property
    def _pieces_by_network(self) -> list[list[Piece]]:
        return [pieces_of(network, self.plan.lowering) for network in self.networks]

    def payloads(self) -> Iterator[Payload]:
        """Build the models: one, or several if one would be too large."""
        merged: onnx.ModelProto | None = None
        size = 0
        for number, network in enumerate(self.networks):
            body = payload_of(network, self.plan).body
            if merged is not None and size + len(body) > MODEL_BYTES:
                yield Payload("bag", merged.SerializeToString())
                merged, size = None, 0
            model = onnx.load_from_string(body)
            compose.add_prefix(model, _prefix(number), rename_inputs=False, inplace=True)
            size += len(body)
            if merged is None:
                merged = model
            else:
                merged.graph.node.extend(model.graph.node)
                merged.graph.initializer.extend(model.graph.initializer)
                merged.graph.output.extend(model.graph.output)
        if merged is not None:
            yield Payload("bag", merged.SerializeToString())

    def kernel_times(self, nodes: Iterable[NodeTime]) -> list[float]:
        """Sum the µs of each of `pieces`, from the nodes in the order in which they ran.

        A node that the runtime inserted belongs to the kernel that it serves (`placed`).
        """
        times_us = [0.0] * len(self.pieces)
        for found in placed(nodes, self.places):
            times_us[found.place] += found.node.us
        return times_us

    @cached_property
    def places(self) -> dict[str, int]:
        """The index in `pieces` by the names that a node of the kernel may have."""
        index: dict[str, int] = {}
        place = 0
        for number, pieces in enumerate(self._pieces_by_network):
            for piece in pieces:
                for name in (*piece.kernel.ops, piece.op.output.name):
                    index[_prefix(number) + name] = place
                place += 1
        return index


def _prefix(number: int) -> str:
    return f"{number}/"


def _shallow(network: Architecture) -> Architecture:
    stages = (
        dataclasses.replace(stage, depth=min(stage.depth, BAG_DEPTH)) for stage in network.stages
    )
    return dataclasses.replace(network, stages=tuple(stages))
