"""The hand-designed networks, by name: the baselines that a search has to beat.

Structures are the paper's (tables 5 and 6; appendix, table 2); its counts come out exactly
(tests/space/units/test_reference.py). `torchvision_*` are the variants whose published weights
torchvision ships; they differ in the units that change the width.
"""

import difflib
from dataclasses import replace
from fractions import Fraction

from nas_sv2.errors import ConfigError
from nas_sv2.space.units.architecture import Architecture, Downsample, Stage

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


def reference(name: str) -> Architecture:
    """The hand-designed network of that name.

    Raises:
        ConfigError: There is none; names the closest.
    """
    if name in REFERENCES:
        return REFERENCES[name]
    close = difflib.get_close_matches(name, REFERENCES, n=3) or sorted(REFERENCES)[:3]
    raise ConfigError(
        "architecture", name, "must be a reference network such as " + ", ".join(close)
    )


def reference_name(architecture: Architecture) -> str | None:
    """The name under which `architecture` stands here, if it does."""
    return next((name for name, known in REFERENCES.items() if known == architecture), None)
