"""Pictures of networks: time by kind and block (figure 2), and reused channels (Figure 4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nas_sv2.counts import counted
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, RunKind
from nas_sv2.space.reuse.channel_reuse import Reuse, ReusedWeights
from nas_sv2.studies.pages.picture_style import COLOURS, GREY, new_figure, write_picture

COLOUR: Final[dict[RunKind, str]] = {
    "conv": COLOURS[0],
    "depthwise": COLOURS[5],
    "element-wise": COLOURS[4],
    "shuffle": COLOURS[2],
    "data": COLOURS[3],
    "other": GREY,
}
DARK: Final = ("conv", "shuffle")
"""Kinds with dark colours, on which black is not legible."""
LEGIBLE_SHARE: Final = 0.03
"""Least share of a bar on which a number is legible."""
BAR_IN: Final = 1.3
"""Width of a bar by kind."""
BLOCK_PANEL_IN: Final = 3.0
"""Height of a panel by block."""
BLOCKS_IN: Final = 8.0
"""Width of the panels by block."""
HEADROOM: Final = 1.06
FEW_BLOCKS: Final = 30
SHARES, WEIGHTS = "viridis", "RdBu_r"
BLANK = "#d4d4d4"
HEAT_MAP_IN = 6.4
MOST_NAMED = 30
"""Most blocks that are all named on the axes; of more, only the first of each stage is."""
LEAST_SPREAD = 0.1
"""Least range of the colours of weights around 1, so that 1 % does not look like much."""

Floats = NDArray[np.float64]


def draw_profiles(profiles: Sequence[tuple[str, Profile]], path: Path) -> None:
    """Write one bar by kind and one panel by block for each named network of one target.

    Raises:
        ConfigError: If the file cannot be written.
    """
    count = len(profiles)
    bars_in = 1.6 + BAR_IN * count
    figure = new_figure(bars_in + BLOCKS_IN, max(5.5, 1.2 + BLOCK_PANEL_IN * count))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(bars_in, BLOCKS_IN))[0]
    bars = left.subplots()
    _draw_shares(bars, profiles)
    panels = right.subplots(count, 1, squeeze=False, sharey=True)[:, 0]
    for panel, (name, profile) in zip(panels, profiles, strict=True):
        _draw_blocks(panel, name, profile)
    longest_ms = max(
        sum(kinds.values()) for _, profile in profiles for kinds in profile.block_ms.values()
    )
    panels[0].set_ylim(0, HEADROOM * longest_ms)
    handles, labels = bars.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(RUN_KINDS), frameon=False)
    write_picture(figure, caption_of([profile for _, profile in profiles]), path)


def caption_of(profiles: Sequence[Profile]) -> list[str]:
    """Return the caption, one fact per line: device, kinds and conditions."""
    whole = profiles[0].whole
    lines = [
        f"{whole.device} · {whole.provenance}",
        "conv and depthwise: with the activations and sums that run within them. shuffle: with "
        "splits and concats. data: layout changes by the runtime",
    ]
    if whole.runs is not None:
        lines.append(
            "Shares refer to the sum of kernel times; the runtime's profiler adds a little to each"
        )
    if any(profile.whole.contended for profile in profiles):
        lines.append("Other programs ran at the same time")
    return lines


def _draw_shares(axes: Axes, profiles: Sequence[tuple[str, Profile]]) -> None:
    names = [name for name, _ in profiles]
    below = [0.0] * len(profiles)
    for kind in RUN_KINDS:
        shares = [profile.kind_ms[kind] / profile.ms for _, profile in profiles]
        axes.bar(range(len(shares)), shares, 0.62, below, color=COLOUR[kind], label=kind)
        for place, share in enumerate(shares):
            if share >= LEGIBLE_SHARE:
                middle = below[place] + share / 2
                text = f"{share:.0%}".replace("%", " %")
                ink = "white" if kind in DARK else "black"
                axes.text(place, middle, text, ha="center", va="center", fontsize=9, color=ink)
        below = [low + share for low, share in zip(below, shares, strict=True)]
    axes.set_xticks(range(len(names)), names, rotation=20 if len(names) > 1 else 0, ha="center")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set(title="share of the time by kind", ylim=(0, 1))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}".replace("%", " %"))


def _draw_blocks(axes: Axes, name: str, profile: Profile) -> None:
    blocks = profile.block_ms
    below = [0.0] * len(blocks)
    for kind in RUN_KINDS:
        times = [kinds[kind] for kinds in blocks.values()]
        axes.bar(range(len(times)), times, 0.8, below, color=COLOUR[kind])
        below = [low + time for low, time in zip(below, times, strict=True)]
    size = 8 if len(blocks) <= FEW_BLOCKS else 5
    axes.set_xticks(range(len(blocks)), list(blocks), rotation=90, fontsize=size)
    axes.set_xlim(-0.7, len(blocks) - 0.3)
    whole = profile.whole
    beside = f" ({whole.ms:.3f} without the profiler)" if whole.runs is not None else ""
    kernels = f"{counted(len(profile.kernels), 'kernel')}, {profile.ms:.3f} ms{beside}"
    axes.set(title=f"{name}: {kernels}", ylabel=f"ms ({whole.provenance})")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


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
    figure = new_figure(HEAT_MAP_IN * panels, HEAT_MAP_IN)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    shares = np.array(reuse.passed)
    shares[shares == 0] = np.nan
    bar = _heat_map(figure, axes[0], reuse.blocks, shares, SHARES, Normalize(0, 1))
    bar.set_label("share of the source's channels")
    axes[0].set_title("(a) output channels of the source that\nthe target passes on unchanged")
    if weights is not None:
        values = np.array(weights.relative, float)
        most = max(LEAST_SPREAD, float(np.nanmax(abs(values - 1))))
        bar = _heat_map(
            figure, axes[1], reuse.blocks, values, WEIGHTS, Normalize(1 - most, 1 + most)
        )
        bar.set_label("mean |w| relative to all channels that the target mixes")
        axes[1].set_title(
            "(b) weights of the source's own channels\nin the target's first mixing convolutions"
        )
    write_picture(figure, caption, path)


def _heat_map(
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
