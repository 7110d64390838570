"""The named spaces: one around the paper's network of each complexity level.

Widths reach from about half to one and a half times those of the paper's network. Their steps are
4 if its width is not a multiple of 8 (116, 244, 340), and else 8. Each space holds the network as
a point, and its forms with squeeze-and-excitation, residuals and the wide field.
"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from nas_sv2.errors import ConfigError
from nas_sv2.plug_ins import is_plug_in, load_plug_in
from nas_sv2.space.choices.search_space import (
    Range,
    SearchSpace,
    StageChoices,
    with_known_baselines,
)
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import Guidelines, paper_guidelines
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import in_form_of, reference

SPLITS = tuple(Fraction(eighths, 8) for eighths in (2, 3, 4, 5, 6))
FLAG = (False, True)


def _stage(depth: Range, width: Range, stride: int = 2) -> StageChoices:
    return StageChoices(depth, width, SPLITS, (3, 5, 7), FLAG, FLAG, FLAG, stride)


def _level(name: str, widths: tuple[Range, Range, Range], head: Range, scale: str) -> SearchSpace:
    depths = (Range(2, 6), Range(4, 10), Range(2, 6))
    return SearchSpace(
        name,
        stem=((16,), (24,), (32,)),
        stages=tuple(_stage(depth, width) for depth, width in zip(depths, widths, strict=True)),
        head=head,
        baselines=(f"shufflenet_v2_{scale}", f"shufflenet_v2_se_{scale}"),
    )


LEVELS: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        _level(
            "40M",
            (Range(32, 80, 8), Range(64, 160, 8), Range(128, 320, 8)),
            Range(512, 1280, 128),
            "x0_5",
        ),
        _level(
            "140M",
            (Range(64, 176, 4), Range(128, 352, 8), Range(256, 704, 8)),
            Range(512, 1536, 128),
            "x1_0",
        ),
        _level(
            "300M",
            (Range(96, 272, 8), Range(192, 544, 8), Range(384, 1056, 8)),
            Range(512, 1536, 128),
            "x1_5",
        ),
        _level(
            "500M",
            (Range(132, 372, 4), Range(264, 744, 8), Range(528, 1480, 8)),
            Range(1024, 2560, 256),
            "x2_0",
        ),
        SearchSpace(
            "large",
            stem=((64,), (64, 64, 128)),
            stages=(
                _stage(Range(2, 10), Range(128, 384, 4), stride=1),
                _stage(Range(2, 12), Range(256, 768, 8)),
                _stage(Range(4, 24), Range(512, 1536, 8)),
                _stage(Range(2, 10), Range(1024, 3072, 8)),
            ),
            head=Range(1024, 3072, 256),
            baselines=("shufflenet_v2_50",),
        ),
    )
}

FLOPS_OF_LEVEL = {"40M": 40e6, "140M": 140e6, "300M": 300e6, "500M": 500e6, "large": 2300e6}


_FAMILIES = [
    *(
        tuple(f"shufflenet_v2_{form}{scale}" for form in ("", "se_", "residual_", "star_"))
        for scale in ("x0_5", "x1_0", "x1_5", "x2_0")
    ),
    ("shufflenet_v2_50", "se_shufflenet_v2_164"),
]


def paper_limits(like: SearchSpace | Classifier, flops: float) -> Guidelines:
    """The guidelines' limits at the level of `flops` multiply-adds.

    They are set by the paper's networks nearest to it in all their forms, with the input, the
    classes and the strides of `like`. Networks of other families have no such strides.
    """
    families = [[_formed(like, reference(name)) for name in names] for names in _FAMILIES]
    nearest = min(families, key=lambda family: _ratio(cost_of(lower(family[0])).flops, flops))
    return paper_guidelines(map(lower, nearest))


def _formed(like: SearchSpace | Classifier, network: Architecture) -> Architecture:
    if not isinstance(like, PaperNetwork):
        return in_form_of(like, network)
    return replace(
        network, resolution=like.resolution, channels=like.channels, classes=like.classes
    )


def named_space(name: str) -> SearchSpace:
    """The space of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in LEVELS:
        files = f"a file that ends in {', '.join(FILE_ENDINGS)}, or module:attribute"
        raise ConfigError("space", name, f"must be one of {', '.join(LEVELS)}, {files}")
    return LEVELS[name]


def nearest_level(flops: float) -> SearchSpace:
    """The named space whose level is nearest to `flops` multiply-adds, as a ratio."""
    return LEVELS[min(FLOPS_OF_LEVEL, key=lambda level: _ratio(FLOPS_OF_LEVEL[level], flops))]


def _ratio(a: float, b: float) -> float:
    return max(a / b, b / a)


FILE_ENDINGS = (".yaml", ".yml", ".json", ".toml")


def open_space(text: str) -> SearchSpace:
    """Open the space that `text` names: a built-in one, a file, or `module:attribute`.

    Raises:
        ConfigError: It names none of these; or the file or object is not a space.
    """
    if Path(text).suffix in FILE_ENDINGS:
        return SearchSpace.load(text)
    return _space_of_module(text) if is_plug_in(text) else named_space(text)


def _space_of_module(text: str) -> SearchSpace:
    space = load_plug_in("space", text, "sample")
    if not isinstance(space, SearchSpace):
        raise ConfigError("space", text, "must name a SearchSpace, or what returns one")
    return with_known_baselines(space)
