"""How the boxes of a detector's ONNX file are compared with those of torch; what is not built."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from nas_sv2.errors import ConfigError
from nas_sv2.studies.package.detector_package import DETECTOR, WEIGHTS, load_detector, unmatched
from nas_sv2.studies.package.folder import write_folder

FOUND = np.array(  # score, box, class
    [[0.9, 1, 2, 30, 40, 3], [0.7, 5, 5, 9, 9, 0], [0.7, 50, 50, 70, 70, 0], [0.2, 1, 1, 9, 9, 1]]
)


def changed(row: int, column: int, by: float) -> np.ndarray:
    found = FOUND.copy()
    found[row, column] += by
    return found


def test_order_and_rounding_do_not_matter() -> None:
    assert unmatched(FOUND, FOUND[[0, 2, 1, 3]]) == 0
    assert unmatched(FOUND, changed(1, 2, 0.01)) == unmatched(FOUND, changed(1, 0, 1e-4)) == 0


def test_another_box_score_or_class_is_a_difference() -> None:
    for column, by in ((0, 0.01), (1, 1.0), (4, -1.0), (5, 1)):
        assert unmatched(FOUND, changed(1, column, by)) == 1
        assert unmatched(changed(1, column, by), FOUND) == 1
    assert unmatched(FOUND, FOUND[1:]) == 1
    assert unmatched(FOUND, FOUND[:0]) == 4


def test_what_a_limit_cuts_off_is_no_difference() -> None:
    """The least score of a full list may be one of several."""
    assert unmatched(FOUND, FOUND[:3]) == 0
    assert unmatched(FOUND[:0], FOUND) == 0


@pytest.mark.parametrize(
    ("depth", "width", "said"),
    [
        (1000, 48, "must be weights of 1001 units; got 4"),
        (1, 60_000, r"must be those of a backbone of [\d,]+ params; got 4"),
    ],
)
def test_a_detector_larger_than_its_weights_is_not_built(
    tmp_path: Path, depth: int, width: int, said: str
) -> None:
    text = f"""
nas_sv2_detector: 1
network:
  nas_sv2_architecture: 1
  stem: [24]
  stages: [{{depth: {depth}, width: {width}}}, {{depth: 1, width: {width + 48}}}]
  head: 16
head: ssdlite
height: 64
width: 64
categories: [a]
"""
    weights = safetensors.numpy.save({name: np.zeros(1, np.float32) for name in "abcd"})
    write_folder(tmp_path / "d", {DETECTOR: text.encode(), WEIGHTS: weights})
    with pytest.raises(ConfigError, match=said):
        load_detector(tmp_path / "d")
