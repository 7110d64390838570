"""Table 7: its counts, and how its times come about."""

import pytest

from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.studies.paper.detection import detection_rows, time_table_7
from nas_sv2.testing import FakeDevice

LEVELS = ("40M", "140M", "300M", "500M")
MFLOPS = {  # of the classifiers at 224×224, and of the backbones at 800×1200
    "ShuffleNet v2 (ours)": ((40.5, 145.8, 299.0, 590.8), (571.5, 2330.3, 5037.3, 9414.2)),
    "ShuffleNet v2* (ours)": ((42.9, 150.7, 306.0, 600.3), (617.7, 2423.6, 5172.1, 9596.2)),
    "ShuffleNet v1": ((37.6, 137.5, 292.4, 524.0), (711.6, 2618.0, 5581.9, 10014.8)),
    "Xception": ((39.5, 144.8, 304.6, 525.4), (753.3, 2769.5, 5832.4, 10066.9)),
    "MobileNet v2": ((30.6, 151.0, 300.8, 582.2), (503.1, 2638.8, 5361.1, 10381.2)),
}
PUBLISHED = {  # of the paper's table 8, in which the four networks without a rule of widths differ
    "ShuffleNet v2 (ours)": (41, 146, 299, 591),
    "ShuffleNet v1": (38, 138, 292, 524),
    "Xception": (40, 145, 305, 525),
}


def test_the_backbones_count_what_the_levels_say() -> None:
    rows = detection_rows(LEVELS, 800, 1200)
    assert len(rows) == 20
    for backbone, (at_224, at_800) in MFLOPS.items():
        of_backbone = [row for row in rows if row.backbone == backbone]
        assert [row.level for row in of_backbone] == list(LEVELS)
        assert [round(row.classifier_flops / 1e6, 1) for row in of_backbone] == list(at_224)
        assert [round(row.flops / 1e6, 1) for row in of_backbone] == list(at_800)
    for backbone, published in PUBLISHED.items():
        counted = MFLOPS[backbone][0]
        assert all(abs(one - two) <= 0.55 for one, two in zip(counted, published, strict=True))


def test_the_rows_are_the_paper_s() -> None:
    rows = {(row.backbone, row.level): row for row in detection_rows(("140M", "500M"), 64, 64)}
    v2, star = rows["ShuffleNet v2 (ours)", "140M"], rows["ShuffleNet v2* (ours)", "500M"]
    assert (v2.network, v2.published_mmap, v2.published_images_per_s) == (
        *("shufflenet_v2_x1_0", 29.0, 146),
    )
    assert (star.network, star.published_mmap) == ("shufflenet_v2_star_x2_0", 34.2)


def test_a_device_is_asked_level_by_level_for_backbones_and_detectors() -> None:
    """The fake device takes a time that follows FLOPs, so that the order is that of FLOPs."""
    device, said = FakeDevice(), list[str]()
    target = MeasuredTarget(MeasuredDevice("fake", device, CPU_PLAN))
    found = time_table_7(target, ("40M",), 64, 96, begun=said.append)
    assert said == ["the backbones of level 40M", "the detectors of level 40M"]
    assert len(set(device.measured)) == 10
    for row in found.rows:
        assert row.alone is not None and row.whole is not None
        assert row.alone.ms == pytest.approx(row.flops / 1e8, rel=1e-2)
        assert row.whole.ms > row.alone.ms
    alone, _ = found.agreements
    flops = found.flops_agreement
    assert alone.by_level == flops.by_level and alone.overall == flops.overall
    assert (alone.agreeing, alone.pairs) == (flops.agreeing, flops.pairs)
    alone_only = time_table_7(target, ("40M",), 64, 96, whole=False)
    assert [one.whole for one in alone_only.rows] == [None] * 5
    assert alone_only.whole_lacks == "not asked for"


def test_an_emulated_core_prices_backbones_and_says_what_it_cannot() -> None:
    found = time_table_7(EmulatedArm.open("cortex-a57"), ("40M",), 224, 224)
    assert all(row.alone is not None and row.whole is None for row in found.rows)
    assert "suppression" in found.whole_lacks
    other = time_table_7(EmulatedArm.open("cortex-a57"), ("40M",), 36, 52)
    assert all((row.alone is None) == bool(row.lacks) for row in other.rows)
