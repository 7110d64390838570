"""The paper's published ARM speeds and the networks they are of; and all networks, emulated whole.

Speeds are images/s on a Snapdragon 810 (Cortex-A57), one thread, batch 1: ShuffleNet V2, Table 8.
The published networks shuffle as written, so they are emulated `plain`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.calibration.table_file import emulate
from nas_sv2.latency.calibration.workshop import Workshop
from nas_sv2.latency.emulated.arm_cores import Core
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.space.experiments.paper import paper_tables
from nas_sv2.space.families.published import STRUCTURES, published_network
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.paper.published_figures import table8

EACH_EXPERIMENT = 4  # of those of a table every fourth is emulated


@dataclass(frozen=True, slots=True)
class Row:
    """A published speed.

    Attributes:
        family: As the paper's tables name it.
        level: The complexity level, as `140M`.
        network: Our name of the network.
        images_per_s: As published.
        known: Whether its structure is published; else it is reconstructed.
    """

    family: str
    level: str
    network: str
    images_per_s: float
    known: bool

    @property
    def ms(self) -> float:
        """The latency it means."""
        return 1000 / self.images_per_s


def rows() -> list[Row]:
    """The rows of Table 8 with an ARM speed and a network that we have, each network once."""
    found = {}
    for row in table8():
        if row.network and row.arm_images_per_s and row.network not in found:
            structure = STRUCTURES.get(row.network)
            known = structure is None or not structure.reconstructed
            found[row.network] = Row(
                row.family, row.level, row.network, row.arm_images_per_s, known
            )
    return list(found.values())


def networks() -> list[Point]:
    """Every network of the paper at its own resolution: the rows, and those without a speed."""
    names = dict.fromkeys([*(row.network for row in rows()), *STRUCTURES])
    return [point_of(name) for name in names]


def point_of(network: str) -> Point:
    """A network of that name, to be emulated whole."""
    return Point(network, lower(published_network(network)))


def experiments() -> Iterator[Point]:
    """Some of the controlled experiments, of every table."""
    for table in paper_tables("ARM"):
        for experiment in table.experiments[::EACH_EXPERIMENT]:
            network = experiment.network
            yield Point(f"{table.name}_{network.digest}", network.graph)


def emulated_cycles(shop: Workshop, core: Core, points: Sequence[Point]) -> list[float]:
    """Cycles of each, run whole and unprofiled, in float32."""
    runs = emulate(shop, core, "fp32", "published", points, profile=False)
    per_run = KernelTable.load(core.name).metadata["overhead"]["per_run"]
    return [run.cycles - per_run for run in runs]
