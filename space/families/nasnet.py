"""NASNet-A (4 @ 1056), the mobile one: four normal cells a stage, 1056 channels at the end.

The cells are figure 4 of Zoph et al. 2018; which map each operation reads, TF-Slim's
`NasNetANormalCell` and `NasNetAReductionCell`. Reduction cells come on top of the normal ones.
"""

from functools import partial

from nas_sv2.space.families.searched_cells import Branch, Cell, searched_network
from nas_sv2.space.families.structure import Structure

WIDTH = 44  # 1056 / 24: six maps a cell, twice doubled
DEPTHS = (4, 5, 5)

NORMAL = Cell(
    sums=(
        (Branch("separable", 0, 5), Branch("separable", 1)),
        (Branch("separable", 1, 5), Branch("separable", 1)),
        (Branch("average pool", 0), Branch("identity", 1)),
        (Branch("average pool", 1), Branch("average pool", 1)),
        (Branch("separable", 0), Branch("identity", 0)),
    ),
    joined=(1, 2, 3, 4, 5, 6),
)
REDUCTION = Cell(
    sums=(
        (Branch("separable", 0, 5), Branch("separable", 1, 7)),
        (Branch("max pool", 0), Branch("separable", 1, 7)),
        (Branch("average pool", 0), Branch("separable", 1, 5)),
        (Branch("identity", 3), Branch("average pool", 2)),
        (Branch("separable", 2), Branch("max pool", 0)),
    ),
    joined=(3, 4, 5, 6),
)

STRUCTURES = {
    "nasnet_a_mobile": Structure(
        "NASNet-A",
        partial(searched_network, width=WIDTH, depths=DEPTHS, normal=NORMAL, reduction=REDUCTION),
        "Zoph et al. 2018, figure 4; tensorflow/models, slim/nets/nasnet/nasnet.py",
        paper_mflops=564,
    )
}
