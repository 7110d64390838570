"""Whether emulated times that are more than a tie apart have the published order."""

from collections.abc import Mapping
from itertools import combinations

import pytest

from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.gtx_1080ti import EmulatedGtx1080Ti
from nas_sv2.latency.measurements.head_to_head import EMULATED_TIE
from nas_sv2.space.families.published import published_network
from nas_sv2.studies.paper.published_figures import table8

ARM = {row.network: row.arm_images_per_s for row in table8()}
GPU = {row.network: row.gpu_batches_per_s for row in table8()}


@pytest.mark.parametrize(
    ("target", "published"), [(EmulatedArm.open(), ARM), (EmulatedGtx1080Ti(), GPU)]
)
def test_a_pair_beyond_a_tie_has_the_published_order_and_a_nearer_one_often_not(
    target: EmulatedArm | EmulatedGtx1080Ti, published: Mapping[str | None, float | None]
) -> None:
    speeds = {name: speed for name, speed in published.items() if name and speed}
    ms = {name: target.estimate(published_network(name)).ms for name in speeds}
    near, beyond = list[bool](), list[bool]()
    for pair in combinations(speeds, 2):
        fast, slow = sorted(pair, key=ms.__getitem__)
        if speeds[fast] != speeds[slow]:
            kind = beyond if ms[slow] / ms[fast] > 1 + EMULATED_TIE else near
            kind.append(speeds[fast] > speeds[slow])
    assert sum(beyond) / len(beyond) > 0.98
    assert sum(near) / len(near) < 0.75
