"""The graphs from which formulas of the map are fitted: networks of our spaces at odd inputs.

The inputs are square or not, with sides that no table has and with 1 to 4 channels. In float32,
kernels of published networks on other maps are added one by one.
"""

import contextlib
import math
import random
from collections.abc import Iterator
from fractions import Fraction

from nas_sv2.errors import ConfigError
from nas_sv2.latency.calibration.grid import published_on_maps
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Graph, Value
from nas_sv2.space.graph.resizing import resized
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.units.architecture import KERNELS, Architecture, Stage

SEED = 21
EACH_SPACE, ODD = 4, 12
LEAST_SIDE, MOST_SIDE = 16, 1024
SQUARE = 0.3  # share of square inputs
OBLONG = 0.7  # of others: the largest logarithm of width / height
CHANNELS = (1, 2, 3, 3, 3, 4)
MOST_PARAMS, MOST_FLOPS = 7e6, 80e6  # larger networks take long to load and to emulate
ATTEMPTS = 200


def map_batches(precision: ArmPrecision) -> dict[str, tuple[Point, ...]]:
    """Return the grid in batches by name, each a few minutes of emulation."""
    networks = tuple(network_points(SEED, EACH_SPACE, ODD, MOST_FLOPS))
    if precision == "int8":
        return {"map_networks": networks}
    kinds = {kernel.kind for point in networks for kernel in kernels_of(point.graph)}
    return {"map_networks": networks, "maps": tuple(published_on_maps(kinds))}


def network_points(seed: int, each: int, odd: int, most_flops: float) -> Iterator[Point]:
    """Yield random networks at random inputs, every other one without shuffles.

    Args:
        seed: Seed of all drawing.
        each: Networks of each named space.
        odd: Networks of other, odd widths.
        most_flops: Most multiply-adds of a network.
    """
    generator = random.Random(seed)
    for index, (name, architecture) in enumerate(_architectures(generator, each, odd)):
        graph = lower(architecture)
        if index % 2:
            graph = without_shuffles(graph, {})[0]
        moved = at_some_input(graph, generator, most_flops)
        if moved is not None:
            image = moved.input
            yield Point(f"{name}_at_{image.height}x{image.width}x{image.channels}", moved)


def _architectures(
    generator: random.Random, each: int, odd: int
) -> Iterator[tuple[str, Architecture]]:
    for space in LEVELS.values():
        for index in range(each):
            yield f"{space.name}_{index}", space.sample(RandomSuggester(generator))
    for index in range(odd):
        yield f"odd_{index}", odd_architecture(generator)


def at_some_input(graph: Graph, generator: random.Random, most_flops: float) -> Graph | None:
    """Return the graph at a random input at which it is small enough; None if none is found."""
    if cost_of(graph).params > MOST_PARAMS:
        return None
    for _ in range(ATTEMPTS):
        height = round(math.exp(generator.uniform(math.log(LEAST_SIDE), math.log(MOST_SIDE))))
        oblong = generator.random() > SQUARE
        width = round(height * math.exp(oblong * generator.uniform(-OBLONG, OBLONG)))
        if LEAST_SIDE <= width <= MOST_SIDE:
            image = Value("input", generator.choice(CHANNELS), height, width)
            with contextlib.suppress(ConfigError):  # a map without a pixel
                if cost_of(found := resized(graph, image)).flops < most_flops:
                    return found
    return None


def odd_architecture(generator: random.Random) -> Architecture:
    """Draw even widths and stems until the network is valid."""
    while True:
        stages = tuple(
            Stage(
                depth=generator.randint(1, 6),
                width=2 * generator.randint(12 * 2**index, 56 * 2**index),
                split=Fraction(generator.choice((2, 3, 4, 5, 6)), 8),
                kernel=generator.choice(KERNELS),
                se=generator.random() < 0.3,
                residual=generator.random() < 0.3,
                wide_field=generator.random() < 0.3,
            )
            for index in range(3)
        )
        stem, head = generator.choice((8, 16, 21, 24, 32)), generator.choice((512, 768, 1024))
        classes = generator.choice((10, 100, 1000))
        try:
            return Architecture((stem,), stages, head, classes=classes)
        except ConfigError:
            continue
