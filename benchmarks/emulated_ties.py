"""How often the published order of two networks is that of emulated devices, by their difference.

    python benchmarks/emulated_ties.py    # seconds; nothing runs

It takes all published figures that we have: the paper's ARM and GPU columns (Table 8), and those
of the catalogue. A pair is two networks of one device. Equal FLOPs are within 30 %. Pairs that
were published as equal are left out.
"""

from collections.abc import Callable, Iterable
from itertools import combinations, pairwise

import arm_networks
import gpu_fidelity

from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.gtx_1080ti import EmulatedGtx1080Ti
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.catalogue import CatalogueDevice, catalogue
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.studies.paper.comparison_orders import EQUAL_FLOPS_WITHIN

RATIOS = (1.0, 1.1, 1.2, 1.3, 1.5, 100.0)
Pair = tuple[float, bool, bool]
"""Ratio of the emulated times, whether FLOPs are equal, whether the order is the published one."""


def main() -> None:
    """Print the shares for each kind of device."""
    paper = {row.network: row.ms for row in arm_networks.rows()}
    gpu = {row.name: row.ms for row in gpu_fidelity.rows() if row.of_table_8}
    phones = [
        (device.kernels, device.precision, list(pairs_of(device.ms, emulated(device).estimate)))
        for device in catalogue().values()
        if isinstance(device, CatalogueDevice)
    ]
    sets = {
        "arm, the paper's ARM column": list(pairs_of(paper, EmulatedArm.open().estimate)),
        "gtx-1080ti, the paper's GPU column": list(pairs_of(gpu, EmulatedGtx1080Ti().estimate)),
        "catalogue, LiteRT": [p for by, _, found in phones if by == "litert" for p in found],
        "catalogue, other runtimes": [
            p for by, _, found in phones if by != "litert" for p in found
        ],
    }
    head = [f"{low:g} to {high:g}" for low, high in pairwise(RATIOS)]
    print(f"| emulated times differ by | {' | '.join(head)} | above 1.2 |")
    print("| --- " * (len(head) + 2) + "|")
    for name, pairs in sets.items():
        print(row(name, pairs))
        print(row(f"{name}, equal FLOPs", [pair for pair in pairs if pair[1]]))


def emulated(device: CatalogueDevice) -> EmulatedArm:
    """Open a device of the catalogue without its scale, which changes no order."""
    return EmulatedArm.open(
        device.table, device.precision, lowering="plain", runtime=device.kernels
    )


def pairs_of(
    published: dict[str, float], estimate: Callable[[Network], Latency]
) -> Iterable[Pair]:
    """Compare all pairs of networks of one device."""
    networks = {name: published_network(name) for name in published}
    ms = {name: estimate(network).ms for name, network in networks.items()}
    flops = {name: cost_of(lower(network)).flops for name, network in networks.items()}
    for pair in combinations(published, 2):
        fast, slow = sorted(pair, key=ms.__getitem__)
        few, many = sorted((flops[fast], flops[slow]))
        if published[fast] != published[slow]:
            right = published[fast] < published[slow]
            yield ms[slow] / ms[fast], many <= few * (1 + EQUAL_FLOPS_WITHIN), right


def row(name: str, pairs: list[Pair]) -> str:
    """Return the line of a set of pairs: in order of all, for each span of ratios."""
    spans = [*pairwise(RATIOS), (1.2, RATIOS[-1])]
    cells = []
    for low, high in spans:
        right = [pair[2] for pair in pairs if low <= pair[0] < high]
        cells.append(f"{sum(right)} of {len(right)}" if right else "–")
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
