"""`compare` as a user meets it: the paper's networks on a target, two pictures, and refusals."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from nas_sv2.latency.devices.local import GPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import FakeDevice

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command_line: Run) -> Run:
    return partial(command_line, "device", "paper-table")


def test_table_8_on_the_emulated_core(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(architecture_to_yaml(reference("shufflenet_v2_star_x1_0")))
    code, out, _ = run("--target", "arm", "--vs", "mine.yaml", "--out", "pictures", "--json")
    data = json.loads(out)
    assert code == 0
    assert (data["target"], data["provenance"], data["batch"]) == ("arm", "emulated", 1)
    assert data["device"].startswith("arm: Cortex-A57")
    assert len(data["rows"]) == 40
    rows = {row["model"]: row for row in data["rows"]}
    v2, mine = rows["ShuffleNet v2 1x (ours)"], rows["mine.yaml"]
    assert (v2["name"], v2["flops"], v2["params"]) == (
        "shufflenet_v2_x1_0",
        145_814_296,
        2_279_760,
    )
    assert (v2["paper_mflops"], v2["paper_top1_error"]) == (146, 30.6)
    assert (v2["paper_gpu_batches_per_s"], v2["paper_arm_images_per_s"]) == (341, 24.4)
    assert (v2["speed_to_v2"], v2["paper_arm_speed_to_v2"]) == (1, 1)
    assert v2["latency"]["provenance"] == "emulated"
    assert v2["images_per_s"] == pytest.approx(1000 / v2["latency"]["ms"])
    assert (mine["level"], mine["family"], mine["paper_top1_error"]) == ("140M", "yours", None)
    assert 0 < mine["speed_to_v2"] < 1
    assert {(one["with"], one["known_structures_only"]) for one in data["agreement"]} == {
        (device, known) for device in ("paper_arm", "paper_gpu") for known in (False, True)
    }
    assert data["rules"] == [
        "not timed together; a tie within 20%, as such orders are often wrong"
    ]
    picture, page = map(Path, data["files"])
    with Image.open(picture) as image:
        assert min(image.size) > 800
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 100
    html = page.read_text(encoding="utf-8")
    assert len(html) > 1_000_000  # plotly itself is in it
    assert "<script src" not in html
    for text in ("mine.yaml", "0.5 MobileNet v1", "top-1 error 36.3 %", "Cortex-A57"):
        assert text in html


def test_a_level_for_people(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("--target", "arm", "--level", "140M")
    assert code == 0
    lines = out.splitlines()
    assert next(line for line in lines if line.startswith("140M level"))
    assert not [line for line in lines if line.startswith("40M level")]
    mobile = next(line.split() for line in lines if line.startswith("0.5 MobileNet v1"))
    assert mobile[3:10] == ["mobilenet_v1_x0_5", "149.5", "149", "1.33", "36.3", "382", "16.5"]
    assert mobile[-2:] == ["0.68", "1.12"]  # relative to V2, as published: ARM and GPU
    assert "inversions: FLOPs within 30%" in out or "inversion: FLOPs within 30%" in out
    assert [line for line in lines if line.startswith("paper's ARM")]
    assert "Cortex-A57" in out
    assert "· emulated" in out
    assert {"compare.png", "compare.html"} <= {file.name for file in tmp_path.iterdir()}


def test_a_measured_device_of_whom_flops_say_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = reference("shufflenet_v2_x1_0").digest
    device = FakeDevice("gpu", ms_of=lambda payload: 4.0 if payload.architecture == slow else 2.0)

    def opened(self: TargetBook, name: str, **options: object) -> MeasuredTarget:
        return MeasuredTarget(MeasuredDevice(name, device, GPU_PLAN))

    monkeypatch.setattr(TargetBook, "open", opened)
    code, out, _ = run("--target", "gpu", "--level", "140M")
    assert code == 0
    assert "(measured)" in out
    assert "4.00 ±0.44" in out
    wrong = [line.split() for line in out.splitlines() if line.startswith("shufflenet_v2_x1_0 ")]
    assert ["shufflenet_v2_x1_0", "mobilenet_v1_x0_5", "145.8", "to", "149.5", "2.00"] in [
        words[:6] for words in wrong
    ]
    assert "against the paper's ARM: shufflenet_v2_x1_0 is slower here than" in out
    assert "took 4.000 ms beside them" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--target", "arm", "--level", "41M"), "--level .*one of 40M.*; got '41M'"),
        (("--target", "toaster"), "--target .*; got 'toaster'"),
        (("--level", "140M"), "--target"),
        (("--target", "arm,cpu"), "--target .*; got 'arm,cpu'"),
        (("--target", "arm", "--vs", "study:3"), "--storage"),
        (("--target", "arm", "--vs", "shufflenet"), "architecture .*; got 'shufflenet'"),
        (("--target", "arm", "--vs", "none.yaml"), "none.yaml"),
        (("--target", "arm", "--out", "file"), "--out .*; got 'file'"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_writes_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.search(named, err), err
    assert sorted(tmp_path.rglob("*")) == before
