"""Random networks, small enough to build and run by the hundred."""

from fractions import Fraction
from typing import get_args

from hypothesis import strategies as st

from nas_sv2.resolution import Resolution
from nas_sv2.space.units.architecture import KERNELS, Architecture, Downsample, Stage

SIDES = st.integers(32, 45)
RESOLUTIONS: st.SearchStrategy[Resolution] = SIDES | st.tuples(SIDES, SIDES)
SPLITS = [Fraction(share) for share in ("1/4", "3/8", "1/2", "5/8", "3/4")]


@st.composite
def architectures(
    draw: st.DrawFn, resolutions: st.SearchStrategy[Resolution] = RESOLUTIONS
) -> Architecture:
    downsample: Downsample = draw(st.sampled_from(get_args(Downsample)))
    stem = tuple(draw(st.lists(st.sampled_from([4, 6, 8]), min_size=1, max_size=2)))
    width, stages = stem[-1], []
    for _ in range(draw(st.integers(1, 3))):
        split = draw(st.sampled_from(SPLITS))
        step = max(2, split.denominator)
        width = width // step * step + step * draw(st.integers(1, 4))
        stages.append(
            Stage(
                depth=draw(st.integers(1, 4)),
                width=width,
                split=split,
                kernel=draw(st.sampled_from(KERNELS)),
                se=draw(st.booleans()),
                residual=draw(st.booleans()),
                wide_field=draw(st.booleans()),
                stride=draw(st.sampled_from([1, 2])),
            )
        )
    return Architecture(
        stem,
        tuple(stages),
        head=draw(st.integers(8, 24)),
        resolution=draw(resolutions),
        channels=draw(st.sampled_from([1, 3])),
        classes=draw(st.integers(2, 7)),
        downsample=downsample,
        stem_stride=draw(st.sampled_from([1, 2])),
        stem_pool=draw(st.booleans()),
    )
