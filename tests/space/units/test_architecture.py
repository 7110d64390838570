from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import given
from strategies import architectures

from nas_sv2.errors import ConfigError
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.reference import reference

V2 = reference("shufflenet_v2_x1_0")
STAGE = V2.stages[0]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("stem[0]", {"stem": (0,)}),
        ("stem", {"stem": ()}),
        ("head", {"head": -1}),
        ("resolution", {"resolution": 16}),
        ("resolution", {"resolution": 224.0}),
        ("classes", {"classes": True}),
        ("downsample", {"downsample": "keras"}),
        ("stem_stride", {"stem_stride": 3}),
        ("stem_pool", {"stem_pool": 1}),
        ("stages", {"stages": ()}),
        ("stages[0].depth", {"stages": (replace(STAGE, depth=0),)}),
        ("stages[0].width", {"stages": (replace(STAGE, width=117),)}),
        ("stages[0].width", {"stages": (replace(STAGE, width=24),)}),
        ("stages[0].split", {"stages": (replace(STAGE, split=Fraction(3, 8)),)}),
        ("stages[0].split", {"stages": (replace(STAGE, split=Fraction(1)),)}),
        ("stages[0].kernel", {"stages": (replace(STAGE, kernel=4),)}),
        ("stages[0].stride", {"stages": (replace(STAGE, stride=4),)}),
        ("stem[0]", {"stem": (10**9,)}),
        ("head", {"head": 10**9}),
        ("classes", {"classes": 10**9}),
        ("stages[0].width", {"stages": (replace(STAGE, width=10**9),)}),
        ("stages[0].depth", {"stages": (replace(STAGE, depth=10**9),)}),
        ("stages[0].se", {"stages": (replace(STAGE, se=cast(bool, 1)),)}),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(V2, **change)
    assert caught.value.field == field
    assert len(str(caught.value).splitlines()) == 1


def test_a_narrow_stage_is_allowed_where_the_shortcut_does_not_keep_its_channels() -> None:
    narrow = Architecture((24,), (Stage(2, 16),), 32, downsample="torchvision")
    assert narrow.stages[0].convolved == 8


@given(architectures(), architectures())
def test_the_digest_names_the_content(left: Architecture, right: Architecture) -> None:
    assert (left.digest == right.digest) == (left == right)
    assert replace(left).digest == left.digest


def test_the_digest_is_stable_between_versions() -> None:
    """Stored measurements are found by it; a change here orphans them."""
    assert V2.digest == "ce708ddf9dcade10"
