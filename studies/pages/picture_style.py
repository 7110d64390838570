"""The style of pictures: one palette, readable sizes, and a caption about the measurement.

Pictures use matplotlib's objects and no global state. A file is written once, complete.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nas_sv2.files import PICTURES, checked_out, write_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Final = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#555555",
    "#bcbd22", "#7b3294", "#1b9e77", "#a6761d",
)  # fmt: skip
"""Okabe and Ito's colours, which colour-blind people can distinguish, and others."""
GREY: Final = "#9a9a9a"
CAPTION_SIZE: Final = 8
DPI: Final = 150


def new_figure(width_in: float = 9.0, height_in: float = 5.5) -> "Figure":
    """Create an empty figure with automatic layout."""
    # Imported here: it takes a second, and pages that use the colours draw nothing.
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def write_picture(figure: "Figure", caption: Sequence[str], path: Path) -> None:
    """Write the figure with its caption below: device, provenance, units, one per line.

    The format is the ending of the path, one of `PICTURES`; PNG if it has none.

    Raises:
        ConfigError: If the path has another ending, or the file cannot be written.
        StoreError: If the disk is full.
    """
    path = checked_out(path, endings=PICTURES)
    form = path.suffix[1:].lower() or "png"
    figure.supxlabel("\n".join(caption), fontsize=CAPTION_SIZE, color="#333333")
    write_out(path, lambda file: figure.savefig(file, dpi=DPI, format=form))
