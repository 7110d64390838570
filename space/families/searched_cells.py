"""Networks of cells, as NASNet and PNASNet are (Zoph et al. 2018, section 3.1; TF-Slim's nasnet).

A cell reads the outputs of the two cells before it, brought to its width and map. It makes five
maps, each the sum of two operations on earlier maps. The first 3×3 convolution has no padding, and
two narrow reduction cells follow it before the first stage.

Other than in the authors' TensorFlow code, and changing no count:

- Windows of stride 2 are padded alike on all sides; TensorFlow pads an even map at its end only.
- Batch norms use our epsilon of 1e-5, theirs 1e-3.
- Two operations on one map share its ReLU, or its pool: computed once, as onnxruntime would.
- The batch norm behind a halving's two joined paths is that of each path, which is the same.
- Dropout, drop path and the second classifier, which only training has, are left out.

NASNet-A (4 @ 1056), the mobile one: four normal cells a stage, 1056 channels at the end.

The cells are figure 4 of Zoph et al. 2018; which map each operation reads, TF-Slim's
`NasNetANormalCell` and `NasNetAReductionCell`. Reduction cells come on top of the normal ones.

PNASNet-5, the mobile one (Liu et al. 2018): nine cells of one kind.

The cell is figure 1 of that paper; which map each operation reads, TF-Slim's `PNasNetNormalCell`.
At the start of a stage the same cell has stride 2. It takes the place of one; none comes on top.
The width is 54 channels, and 13 and 27 in the two cells of the stem. The odd channel of a halving
goes to the second path, as in later versions of that code.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

STEM = 32
SEPARABLE_REPEATS = 2


@dataclass(frozen=True, slots=True)
class Branch:
    """An operation on a map of the cell.

    Attributes:
        operation: The operation; `separable` is twice ReLU, depthwise and 1×1 convolution.
        state: The map that it reads: 0 the output of the cell before, 1 of the one before that,
            both brought to the cell's width; 2 and on the sums made so far.
        kernel: Side of the window; `identity` has none.
    """

    operation: Literal["separable", "max pool", "average pool", "identity"]
    state: int
    kernel: int = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that a search found: pairs of branches to be summed, and the maps of its output."""

    sums: tuple[tuple[Branch, Branch], ...]
    joined: tuple[int, ...]


def searched_network(
    build: GraphBuilder,
    image: Value,
    classes: int,
    *,
    width: int,
    depths: tuple[int, ...],
    normal: Cell,
    reduction: Cell,
) -> Value:
    """Stages of so many cells; all but the first start with a reduction, which doubles `width`."""
    first = build.conv("stem.0", image, STEM, 3, stride=2, padded=False)
    cells = _Cells(build, last=first)
    for index, part in enumerate((4, 2), 1):
        cells.append(f"stem.{index}", reduction, width // part, stride=2)
    for number, depth in enumerate(depths):
        for index in range(depth):
            reduces = number > 0 and index == 0
            cell, stride = (reduction, 2) if reduces else (normal, 1)
            cells.append(f"stage{number + 2}.{index}", cell, width << number, stride)
    value = build.global_average_pool("head.pool", cells.relu(cells.last))
    return build.linear("head.classifier", value, classes)


@dataclass(slots=True)
class _Cells:
    """Appends cell after cell; `last` and `before` are the outputs that the next one reads."""

    build: GraphBuilder
    last: Value
    before: Value | None = None
    halved: bool = False
    """Whether the map of `last` is half that of `before`."""
    shared: dict[str, Value] = field(default_factory=dict)
    """ReLUs and pools that several branches read, by name."""

    def append(self, name: str, cell: Cell, width: int, stride: int) -> None:
        """A cell of `width` channels a sum, whose operations on what enters have `stride`."""
        states = [self._projected(f"{name}.last", self.last, width), self._older(name, width)]
        for number, pair in enumerate(cell.sums):
            sides = [
                self._branch(
                    f"{name}.sum{number}.{side}",
                    branch,
                    states[branch.state],
                    width,
                    stride if branch.state < 2 else 1,
                )
                for side, branch in zip(("left", "right"), pair, strict=True)
            ]
            states.append(self.build.add(f"{name}.sum{number}", *sides))
        self.before = self.last
        self.last = self.build.concat(f"{name}.concat", *(states[index] for index in cell.joined))
        self.halved = stride == 2

    def relu(self, value: Value) -> Value:
        """ReLU of `value`."""
        return self._once(f"{value.name}.relu", lambda n: self.build.activation(n, value, "relu"))

    def _once(self, name: str, make: Callable[[str], Value]) -> Value:
        if name not in self.shared:
            self.shared[name] = make(name)
        return self.shared[name]

    def _older(self, name: str, width: int) -> Value:
        """The output before the last one; the first cell reads its only input twice."""
        if self.before is None:
            return self.last
        if not self.halved:
            return self._projected(f"{name}.before", self.before, width)
        value = self.relu(self.before)
        moved = self.build.shift(f"{name}.before.shift", value)
        paths = []
        for path, source, part in (("even", value, width // 2), ("odd", moved, -(-width // 2))):
            picked = self.build.average_pool(f"{name}.before.{path}.pool", source, 1, stride=2)
            paths.append(self.build.conv(f"{name}.before.{path}.project", picked, part))
        return self.build.concat(f"{name}.before", *paths)

    def _projected(self, name: str, value: Value, width: int, stride: int = 1) -> Value:
        return self.build.conv(name, self.relu(value), width, stride=stride)

    def _branch(self, name: str, branch: Branch, value: Value, width: int, stride: int) -> Value:
        match branch.operation:
            case "identity":
                return value if stride == 1 else self._projected(name, value, width, stride)
            case "separable":
                for repeat in range(SEPARABLE_REPEATS):
                    value = self._separable(
                        f"{name}.{repeat}", value, width, branch.kernel, 1 if repeat else stride
                    )
                return value
            case _:
                pooled = self._pooled(branch, value, stride)
                return pooled if value.channels == width else self.build.conv(name, pooled, width)

    def _separable(self, name: str, value: Value, width: int, kernel: int, stride: int) -> Value:
        value = self.build.conv(
            f"{name}.depthwise",
            self.relu(value),
            value.channels,
            kernel,
            stride=stride,
            depthwise=True,
            batch_norm=False,
        )
        return self.build.conv(f"{name}.pointwise", value, width)

    def _pooled(self, branch: Branch, value: Value, stride: int) -> Value:
        pool = self.build.max_pool if branch.operation == "max pool" else self.build.average_pool
        name = f"{value.name}.{branch.operation.replace(' ', '_')}"
        return self._once(name, lambda n: pool(n, value, branch.kernel, stride=stride))


NASNET_WIDTH = 44  # 1056 / 24: six maps a cell, twice doubled
NASNET_DEPTHS = (4, 5, 5)

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

NASNET = {
    "nasnet_a_mobile": Structure(
        "NASNet-A",
        partial(
            searched_network,
            width=NASNET_WIDTH,
            depths=NASNET_DEPTHS,
            normal=NORMAL,
            reduction=REDUCTION,
        ),
        "Zoph et al. 2018, figure 4; tensorflow/models, slim/nets/nasnet/nasnet.py",
        paper_mflops=564,
    )
}

PNASNET_WIDTH = 54
PNASNET_DEPTHS = (3, 3, 3)

PNASNET_CELL = Cell(
    sums=(
        (Branch("separable", 1, 5), Branch("max pool", 1)),
        (Branch("separable", 0, 7), Branch("max pool", 0)),
        (Branch("separable", 0, 5), Branch("separable", 0)),
        (Branch("separable", 4), Branch("max pool", 0)),
        (Branch("separable", 1), Branch("identity", 0)),
    ),
    joined=(2, 3, 4, 5, 6),
)

PNASNET = {
    "pnasnet_5_mobile": Structure(
        "PNASNet-5",
        partial(
            searched_network,
            width=PNASNET_WIDTH,
            depths=PNASNET_DEPTHS,
            normal=PNASNET_CELL,
            reduction=PNASNET_CELL,
        ),
        "Liu et al. 2018, figure 1; tensorflow/models, slim/nets/nasnet/pnasnet.py",
        paper_mflops=588,
    )
}
