"""The hand-designed networks, by name: the baselines that a search has to beat.

Structures are the paper's (tables 5 and 6; appendix, table 2); its counts come out exactly
(tests/space/units/test_reference.py). `torchvision_*` are the variants whose published weights
torchvision ships; they differ in the units that change the width.

`shufflenet_v2_xW` is ShuffleNet V2 at any width, such as `shufflenet_v2_x0_35` for 0.35×: the
scaled family.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Protocol

from nas_sv2.documents import check_value
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import Resolution
from nas_sv2.space.units.architecture import Architecture, Downsample, Stage, scale_width

_WIDTHS = {  # paper, table 5: stages 2 to 4, then conv5
    "x0_5": ((48, 96, 192), 1024),
    "x1_0": ((116, 232, 464), 1024),
    "x1_5": ((176, 352, 704), 1024),
    "x2_0": ((244, 488, 976), 2048),
}
_DEPTHS = (4, 8, 4)


def _shufflenet_v2(scale: str, downsample: Downsample = "paper") -> Architecture:
    widths, head = _WIDTHS[scale]
    stages = tuple(
        Stage(depth, width, Fraction(1, 2)) for depth, width in zip(_DEPTHS, widths, strict=True)
    )
    return Architecture((24,), stages, head, downsample=downsample)


def _with(
    architecture: Architecture, se: bool = False, residual: bool = False, wide_field: bool = False
) -> Architecture:
    stages = (
        replace(stage, se=se, residual=residual, wide_field=wide_field)
        for stage in architecture.stages
    )
    return replace(architecture, stages=tuple(stages))


def _large(
    stem: tuple[int, ...], depths: tuple[int, ...], widths: tuple[int, ...], deep: bool
) -> Architecture:
    """Appendix, table 2; conv2_x stays at the pool's resolution."""
    stages = tuple(
        Stage(depth, width, stride=2 if index else 1, se=deep, residual=deep)
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True))
    )
    return Architecture(stem, stages, 2048)


REFERENCES: dict[str, Architecture] = {
    **{f"shufflenet_v2_{scale}": _shufflenet_v2(scale) for scale in _WIDTHS},
    **{
        f"torchvision_shufflenet_v2_{scale}": _shufflenet_v2(scale, "torchvision")
        for scale in _WIDTHS
    },
    **{
        f"shufflenet_v2_star_{scale}": _with(_shufflenet_v2(scale), wide_field=True)
        for scale in _WIDTHS
    },
    **{f"shufflenet_v2_se_{scale}": _with(_shufflenet_v2(scale), se=True) for scale in _WIDTHS},
    **{
        f"shufflenet_v2_residual_{scale}": _with(_shufflenet_v2(scale), residual=True)
        for scale in _WIDTHS
    },
    **{
        f"shufflenet_v2_se_residual_{scale}": _with(_shufflenet_v2(scale), se=True, residual=True)
        for scale in _WIDTHS
    },
    "shufflenet_v2_50": _large((64,), (3, 4, 6, 3), (244, 488, 976, 1952), deep=False),
    "se_shufflenet_v2_164": _large(
        (64, 64, 128), (10, 10, 23, 10), (340, 680, 1360, 2720), deep=True
    ),
}


NARROWEST, WIDEST = 0.1, 4.0
"""Widths of the scaled family; the paper's are 0.5 to 2."""


def reference(name: str) -> Architecture:
    """The hand-designed network of that name.

    Raises:
        ConfigError: There is none; names the closest.
    """
    check_value("name", name, str)
    if name in REFERENCES:
        return REFERENCES[name]
    width = width_named(name)
    if width is not None:
        return scaled_v2(width)
    raise unknown_network(name, REFERENCES)


def unknown_network(name: str, known: Iterable[str]) -> ConfigError:
    """Make the error for a network that is not among `known`; it names the closest."""
    known = list(known)
    # Other libraries write a width as 1.0x, x1.0 or 1_0.
    alike = re.sub(r"[_-]?x?(\d+)[._](\d+)x?$", r"_x\1_\2", name.casefold())
    close = difflib.get_close_matches(alike, known, n=3) or known[:3]
    allowed = "must be a reference network such as " + ", ".join(close)
    return ConfigError("architecture", name, allowed)


def width_named(name: str) -> float | None:
    """The width of the plain ShuffleNet V2 of that name; None for other networks."""
    match = re.fullmatch(r"shufflenet_v2_x([0-9]{1,2})_([0-9]{1,4})", name)
    return None if match is None else float(f"{match[1]}.{match[2]}")


def scaled_v2(width: float) -> Architecture:
    """ShuffleNet V2 at a width: the paper's where it has one, else between its neighbours.

    Beyond the paper's widths all channels are scaled, those of stem and head too. Between them
    each is interpolated, so that wider networks are larger everywhere.

    Raises:
        ConfigError: The width is out of range.
    """
    if not NARROWEST <= width <= WIDEST:
        raise ConfigError("width", width, f"must be from {NARROWEST:g} to {WIDEST:g}")
    papers = {float(scale[1:].replace("_", ".")): _shufflenet_v2(scale) for scale in _WIDTHS}
    below = max((each for each in papers if each <= width), default=min(papers))
    above = min((each for each in papers if each >= width), default=max(papers))
    narrow, wide = papers[below], papers[above]
    if below >= above:
        return scale_width(narrow, width / below)
    share = (width - below) / (above - below)
    stages = tuple(
        replace(one, width=2 * round((one.width + share * (other.width - one.width)) / 2))
        for one, other in zip(narrow.stages, wide.stages, strict=True)
    )
    return replace(
        narrow, stages=stages, head=round(narrow.head + share * (wide.head - narrow.head))
    )


class _Strided(Protocol):
    @property
    def stride(self) -> int: ...


class Formed(Protocol):
    """A space or a network, of which others take the form."""

    @property
    def resolution(self) -> Resolution:
        """Side of the input, or its height and width."""

    @property
    def channels(self) -> int:
        """Channels of the input."""

    @property
    def classes(self) -> int:
        """Output classes."""

    @property
    def stem_stride(self) -> int:
        """Stride of the first stem convolution."""

    @property
    def stem_pool(self) -> bool:
        """Whether a pool follows the stem."""

    @property
    def stages(self) -> Sequence[_Strided]:
        """The stages, of which each has a stride."""


def in_form_of(like: Formed, architecture: Architecture) -> Architecture:
    """Return `architecture` with the input, the classes and all strides of `like`.

    A network with another number of stages keeps the strides of its own.
    """
    stages = architecture.stages
    if len(stages) == len(like.stages):
        pairs = zip(stages, like.stages, strict=True)
        stages = tuple(replace(stage, stride=other.stride) for stage, other in pairs)
    return replace(
        architecture,
        stages=stages,
        resolution=like.resolution,
        channels=like.channels,
        classes=like.classes,
        stem_stride=like.stem_stride,
        stem_pool=like.stem_pool,
    )
