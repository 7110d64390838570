"""`network detect-table` as a user meets it."""

import json
from collections.abc import Callable
from functools import partial

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command_line: Run) -> Run:
    return partial(command_line, "network", "detect-table", "--target", "arm")


def test_table_7_on_the_emulated_core(run: Run) -> None:
    code, out, _ = run("--image-size", "224x224", "--json")
    data = json.loads(out)
    assert code == 0
    assert len(data["rows"]) == 20
    v2 = next(row for row in data["rows"] if row["network"] == "shufflenet_v2_x1_0")
    assert v2["alone_provenance"] == "emulated"
    assert v2["alone_ms"] > 0 and v2["whole_ms"] is None
    assert v2["detector_flops"] > v2["flops"] > 0  # a target need not time what is counted
    assert data["agreements"][0]["kendall_tau"] > data["flops_agreement"]["kendall_tau"]
    code, out, _ = run("--image-size", "224x224", "--level", "40M")
    assert code == 0
    assert "shufflenet_v2_star_x0_5" in out and "whole detectors: not priced" in out
    assert "MFLOPs of detector: multiply-adds" in out
    code, out, _ = run("--image-size", "224x224", "--level", "40M", "--alone")
    assert code == 0 and "MFLOPs of detector:" not in out


def test_images_a_second_count_the_batch_of_the_target(command_line: Run) -> None:
    """The paper's GPU runs batches of 8."""
    options = ("--target", "gtx-1080ti", "--image-size", "224x224", "--level", "40M")
    _, out, _ = command_line("network", "detect-table", *options, "--json")
    data = json.loads(out)
    assert data["batch"] == 8
    for row in data["rows"]:
        assert row["alone_images_per_s"] == pytest.approx(8000 / row["alone_ms"])
    _, out, _ = command_line("network", "detect-table", *options)
    assert "here: batches of 8 images" in out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--image-size", "800"), "--image-size must be height and width, as 800x1200; got '800'"),
        pytest.param(
            *(("--image-size", f"8x{'9' * 5000}"), "--image-size must be height and width"),
            id="long",
        ),
        (
            ("--image-size", "8x9"),
            "--image-size must have sides of at least the total stride, 32; got '8x9'",
        ),
        (("--image-size", "99999x99999"), "--image-size must be pixels, from 1 to 16384"),
        (("--level", "1G"), "--level must be one of 40M, 140M, 300M, 500M, all; got '1G'"),
    ],
)
def test_bad_input_is_one_line(run: Run, options: tuple[str, ...], line: str) -> None:
    code, _, err = run(*options)
    assert (code, err.count("\n")) == (2, 1)
    assert line in err
