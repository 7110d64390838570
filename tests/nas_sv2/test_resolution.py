"""The size of an input: one number for a square, height and width for another shape."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.documents import MOST_SIDE
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import (
    MOST_IMAGE_SIDE,
    check_image_size,
    height_and_width,
    in_pixels,
    read_resolution,
    resolution_of,
)

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


@pytest.mark.parametrize("size", [1025, 5000, (16, 1025), (1025, 16)])
def test_images_of_too_many_pixels_are_refused(size: Any) -> None:
    check_image_size("resolution", MOST_IMAGE_SIDE)
    check_image_size("resolution", (1, MOST_IMAGE_SIDE))
    with pytest.raises(ConfigError, match="resolution must be at most 1024 pixels a side"):
        check_image_size("resolution", size)
