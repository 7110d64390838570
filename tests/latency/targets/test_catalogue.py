"""Real devices as emulated cores: each fits its published figures as well as it says."""

import dataclasses
import statistics

import pytest

from nas_sv2.errors import ConfigError, DeviceError
from nas_sv2.latency.targets.book import TargetBook, built_in_targets
from nas_sv2.latency.targets.catalogue import CatalogueDevice, catalogue
from nas_sv2.latency.targets.entries import Opening
from nas_sv2.space.families.published import published_network

DEVICES = [one for one in catalogue().values() if isinstance(one, CatalogueDevice)]


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_the_note_says_how_far_the_published_figures_are(device: CatalogueDevice) -> None:
    # The networks ran as they were published, with their shuffles.
    target = dataclasses.replace(device.open(Opening()), lowering="plain")
    errors = []
    for name, published_ms in device.ms.items():
        latency = target.estimate(published_network(name))
        errors.append(abs(latency.ms / published_ms - 1))
        assert latency.provenance == "emulated"
        assert f"{len(device.ms)} published figures of {device.runtime}" in latency.note
    assert f"off by {statistics.fmean(errors):.1%} in the mean" in latency.note
    assert f"mean, {max(errors):.0%} at worst" in latency.note
    assert statistics.fmean(errors) < 0.13  # a device beyond this does not belong here


def test_lite_on_small_cores_is_matched_within_four_percent_and_on_large_ones_within_six() -> None:
    lite = [one for one in DEVICES if "Lite 2.10" in one.runtime and one.precision == "fp32"]
    small = [one for one in lite if one.table in ("cortex-a53", "cortex-a55")]
    large = [one for one in lite if one not in small]
    assert len(small) >= 4 and len(large) >= 3
    assert statistics.fmean(one.error.typical for one in small) < 0.04
    assert statistics.fmean(one.error.typical for one in large) < 0.06


def test_ncnn_in_float32_is_matched_within_seven_percent_where_its_kernels_are_known() -> None:
    known = [one for one in DEVICES if one.kernels == "ncnn" and one.precision == "fp32"]
    assert {one.table for one in known} == {"cortex-a53", "cortex-a57"}
    assert len(known) == 11
    for one in known:
        assert len(one.ms) == 5
        assert one.error.typical < 0.07, one.name


def test_ncnn_in_fp16_is_met_by_kernels_in_fp16_within_ten_percent() -> None:
    half = [one for one in DEVICES if one.precision == "fp16"]
    assert {(one.runtime, one.kernels, one.table) for one in half} == {
        ("ncnn", "ncnn", "cortex-a55"),
        ("ncnn", "ncnn", "cortex-a76"),
    }
    assert len(half) == 10
    assert all(one.error.typical < 0.10 for one in half)
    assert statistics.fmean(one.error.typical for one in half) < 0.07
    latency = half[0].open(Opening()).estimate(published_network("shufflenet_v2_x1_0"))
    assert "ncnn, fp16" in latency.note and latency.device.endswith("fp16")


def test_they_are_targets_by_name_and_the_users_own_come_first() -> None:
    book = TargetBook(dict(built_in_targets()))
    assert book.names("pixel-4,arm") == ["pixel-4", "arm"]
    latency = book.open("pixel-4").estimate(published_network("shufflenet_v2_x1_0"))
    assert latency.device.startswith("pixel-4: Cortex-A76 model")
    with pytest.raises(ConfigError, match="emulated"):
        book.device("pixel-4")
    book.entries["pixel-4"] = book["arm"]
    assert book["pixel-4"] is book["arm"]
    with pytest.raises(ConfigError, match="a name of nas-sv2 device catalogue"):
        book.names("pixel-99")


def test_figures_in_float32_say_nothing_of_int8() -> None:
    """Both scales of a Pixel 4 differ by half."""
    target = catalogue()["pixel-4"].open(Opening())
    assert target.with_plan(precision="fp32") is target
    with pytest.raises(
        DeviceError, match="pixel-4 is scaled to figures in fp32; none are in int8"
    ):
        target.with_plan(precision="int8")


def test_the_table_of_a_near_core_is_said() -> None:
    assert catalogue()["raspberry-pi-4"].what == (
        "Raspberry Pi 4B: Cortex-A72, 1.8 GHz by the table of the Cortex-A57, emulated"
    )
    assert catalogue()["pixel-4"].what == "Pixel 4, Snapdragon 855: Cortex-A76, 2.84 GHz, emulated"


def test_the_papers_gpu_is_a_target_and_never_the_gpu_of_this_machine() -> None:
    book = TargetBook(dict(built_in_targets()))
    assert book.names("arm,gtx-1080ti") == ["arm", "gtx-1080ti"]
    target = book.open("gtx-1080ti")
    assert (target.name, target.provenance, target.batch) == ("gtx-1080ti", "emulated", 8)
    assert book["gpu"].needs_device
    with pytest.raises(ConfigError, match="measured latencies are required"):
        book.open("gtx-1080ti", require_measured=True)
    with pytest.raises(ConfigError, match="emulated"):
        book.device("gtx-1080ti")
    entry = catalogue()["gtx-1080ti"]
    assert entry.error.networks == 86
    assert entry.describe().available
