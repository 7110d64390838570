"""PNASNet-5, the mobile one (Liu et al. 2018): nine cells of one kind.

The cell is figure 1 of that paper; which map each operation reads, TF-Slim's `PNasNetNormalCell`.
Where a stage starts, the same cell has stride 2: it takes the place of one, none comes on top.
Of its 54 channels the two cells of the stem have 13 and 27; the odd channel of a halving goes to
the second path, as in later versions of that code.
"""

from functools import partial

from nas_sv2.space.families.searched_cells import Branch, Cell, searched_network
from nas_sv2.space.families.structure import Structure

WIDTH = 54
DEPTHS = (3, 3, 3)

CELL = Cell(
    sums=(
        (Branch("separable", 1, 5), Branch("max pool", 1)),
        (Branch("separable", 0, 7), Branch("max pool", 0)),
        (Branch("separable", 0, 5), Branch("separable", 0)),
        (Branch("separable", 4), Branch("max pool", 0)),
        (Branch("separable", 1), Branch("identity", 0)),
    ),
    joined=(2, 3, 4, 5, 6),
)

STRUCTURES = {
    "pnasnet_5_mobile": Structure(
        "PNASNet-5",
        partial(searched_network, width=WIDTH, depths=DEPTHS, normal=CELL, reduction=CELL),
        "Liu et al. 2018, figure 1; tensorflow/models, slim/nets/nasnet/pnasnet.py",
        paper_mflops=588,
    )
}
