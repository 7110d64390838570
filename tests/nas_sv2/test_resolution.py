"""The size of an input: one number for a square, height and width for another shape."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.documents import MOST_SIDE
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import height_and_width, in_pixels, read_resolution, resolution_of

SIDES = st.integers(1, MOST_SIDE)


@given(SIDES, SIDES)
def test_height_and_width_come_back(height: int, width: int) -> None:
    resolution = resolution_of(height, width)
    assert height_and_width(resolution) == (height, width)
    assert isinstance(resolution, int) == (height == width)
    assert read_resolution("input", json.loads(json.dumps(resolution))) == resolution
    assert read_resolution("input", [height, width]) == resolution
    assert in_pixels(resolution) == f"{height}×{width}"


@pytest.mark.parametrize(
    "value", [None, "96x96", 0, 1.0, True, [], [96], [96, 96, 3], [96, "96"], MOST_SIDE + 1, {}]
)
def test_what_is_no_resolution_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"input must be the side .* \[height, width\]"):
        read_resolution("input", value)
