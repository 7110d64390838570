"""How the boxes of a detector's ONNX file are compared with those of torch."""

import numpy as np

from nas_sv2.studies.package.detector_package import unmatched

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
