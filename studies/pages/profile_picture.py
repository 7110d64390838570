"""The paper's figure 2 for any networks: time by kind of kernel, and by block."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, RunKind
from nas_sv2.studies.pages.picture_style import COLOURS, GREY, new_figure, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
PANEL_IN: Final = 3.0
"""Height of a panel by block."""
BLOCKS_IN: Final = 8.0
"""Width of the panels by block."""
HEADROOM: Final = 1.06
FEW_BLOCKS: Final = 30


def draw_profiles(profiles: Sequence[tuple[str, Profile]], path: Path) -> None:
    """Write one bar by kind and one panel by block for each named network of one target.

    Raises:
        ConfigError: If the file cannot be written.
    """
    count = len(profiles)
    bars_in = 1.6 + BAR_IN * count
    figure = new_figure(bars_in + BLOCKS_IN, max(5.5, 1.2 + PANEL_IN * count))
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


def _draw_shares(axes: "Axes", profiles: Sequence[tuple[str, Profile]]) -> None:
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


def _draw_blocks(axes: "Axes", name: str, profile: Profile) -> None:
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
    kernels = f"{len(profile.kernels)} kernels, {profile.ms:.3f} ms{beside}"
    axes.set(title=f"{name}: {kernels}", ylabel=f"ms ({whole.provenance})")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
