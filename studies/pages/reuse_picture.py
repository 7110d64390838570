"""The paper's Figure 4 for one network: channels passed between blocks, and their weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nas_sv2.space.reuse.channel_reuse import Reuse, ReusedWeights
from nas_sv2.studies.pages.picture_style import new_figure, write_picture

SHARES, WEIGHTS = "viridis", "RdBu_r"
BLANK = "#d4d4d4"
PANEL_IN = 6.4
MOST_NAMED = 30
"""Most blocks that are all named on the axes; of more, only the first of each stage is."""
LEAST_SPREAD = 0.1
"""Least range of the colours of weights around 1, so that 1 % does not look like much."""

Floats = NDArray[np.float64]


def draw_reuse(
    reuse: Reuse, weights: ReusedWeights | None, caption: Sequence[str], path: Path
) -> None:
    """Write the heat maps, in which rows are the blocks that channels come from.

    Args:
        reuse: Channels that pass between blocks.
        weights: Weights of sources in targets, for the second panel; None for one panel.
        caption: Network and source of the weights, one per line.
        path: PNG file to write.

    Raises:
        ConfigError: If the file cannot be written.
    """
    panels = 1 if weights is None else 2
    figure = new_figure(PANEL_IN * panels, PANEL_IN)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    shares = np.array(reuse.passed)
    shares[shares == 0] = np.nan
    bar = _panel(figure, axes[0], reuse.blocks, shares, SHARES, Normalize(0, 1))
    bar.set_label("share of the source's channels")
    axes[0].set_title("(a) output channels of the source that\nthe target passes on unchanged")
    if weights is not None:
        values = np.array(weights.relative, float)
        most = max(LEAST_SPREAD, float(np.nanmax(abs(values - 1))))
        bar = _panel(figure, axes[1], reuse.blocks, values, WEIGHTS, Normalize(1 - most, 1 + most))
        bar.set_label("mean |w| relative to all channels that the target mixes")
        axes[1].set_title(
            "(b) weights of the source's own channels\nin the target's first mixing convolutions"
        )
    write_picture(figure, caption, path)


def _panel(
    figure: Figure,
    axes: Axes,
    blocks: Sequence[str],
    values: Floats,
    colours: str,
    norm: Normalize,
) -> Colorbar:
    axes.set_facecolor(BLANK)
    picture = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm)
    starts = [i for i, block in enumerate(blocks) if i and _stage(block) != _stage(blocks[i - 1])]
    named = range(len(blocks)) if len(blocks) <= MOST_NAMED else starts
    names = [blocks[index] for index in named]
    axes.set_xticks(list(named), names, rotation=90, fontsize=8)
    axes.set_yticks(list(named), names, fontsize=8)
    for start in starts:
        axes.axhline(start - 0.5, color="white", linewidth=1)
        axes.axvline(start - 0.5, color="white", linewidth=1)
    axes.set_ylabel("source block")
    axes.set_xlabel("target block")
    return figure.colorbar(picture, ax=axes, shrink=0.75)


def _stage(block: str) -> str:
    return block.partition(".")[0]
