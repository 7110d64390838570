"""Numbers that a model of accuracy reads of a network: its costs and its choices.

Sizes are in logarithms, since a factor in width or FLOPs does about as much at every size. All
networks of a space have as many features, because a space fixes the number of stages.
"""

import math

import numpy as np

from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.units.architecture import Architecture

Array = np.ndarray


def features(architecture: Architecture, cost: Cost) -> Array:
    """Return the features of a network, of shape (F,).

    Args:
        architecture: The network.
        cost: Its cost on paper.
    """
    values = [cost.flops, cost.params, cost.memory_access_bytes]
    values += [architecture.stem[-1], architecture.head]
    found = list(map(math.log, values))
    for stage in architecture.stages:
        found += [math.log(stage.depth), stage.depth, math.log(stage.width), float(stage.split)]
        found += [stage.kernel, stage.se, stage.residual, stage.wide_field]
    return np.array(found, dtype=float)
