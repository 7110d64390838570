"""`guidelines` as a user meets it: tables, verdicts, two pictures, and refusals."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from nas_sv2.errors import DeviceError
from nas_sv2.latency.devices.local import GPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.experiments.paper import paper_tables
from nas_sv2.space.networks.lowering import network_from_document
from nas_sv2.testing import FakeDevice

GUIDELINES = ["G1", "G2", "G3", "G4"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command_line: Run) -> Run:
    return partial(command_line, "device", "guidelines")


def test_the_emulated_core_for_programs(run: Run) -> None:
    code, out, _ = run("--target", "arm", "--out", "pictures", "--json")
    data = json.loads(out)
    assert code == 0
    assert (data["target"], data["provenance"]) == ("arm", "emulated")
    assert data["device"].startswith("arm: Cortex-A57")
    tables = {table["name"]: table for table in data["tables"]}
    assert list(tables)[:4] == GUIDELINES
    first, *_, last = tables["G1"]["rows"][:4]
    assert (first["variant"], first["relative"], first["flops"]) == ("1:1", 1.0, 64_225_280)
    assert last["relative"] == pytest.approx(last["latency"]["ms"] / first["latency"]["ms"])
    assert last["relative"] > 1.1, "G1 on an ARM core"
    assert last["paper"]["ARM"] == {"per_second": 57.6, "relative_time": 76.2 / 57.6}
    assert network_from_document(last["network"]).digest == last["digest"]
    for name, table in tables.items():
        for row in table["rows"]:
            assert (row["latency"] is None) == bool(row["not_covered"])
            assert row["latency"] or name not in GUIDELINES, "the paper's own are covered"
    assert {order["group"] for order in tables["G1"]["orders"]} == {"x1", "x2", "x4"}
    assert tables["kernel"]["orders"] == []
    for file in data["files"]:
        with Image.open(file) as image:
            assert min(image.size) > 1000
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 100


def test_a_measured_device_for_people(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On this device all of table 1 is as fast, and of table 2 groups cost nothing but FLOPs."""
    even = {each.network.digest for each in paper_tables("GPU")[0].experiments}
    device = FakeDevice(
        "gpu",
        ms_of=lambda payload: 2.0 if payload.architecture in even else len(payload.body) / 100,
    )

    def opened(self: TargetBook, name: str, **options: object) -> MeasuredTarget:
        return MeasuredTarget(MeasuredDevice(name, device, GPU_PLAN))

    monkeypatch.setattr(TargetBook, "open", opened)
    code, out, _ = run("--target", "gpu")
    lines = out.splitlines()
    assert code == 0
    assert "G1: input and output channels c1:c2 of 1×1 convolutions, at equal FLOPs" in lines
    row = next(line.split() for line in lines if line.lstrip().startswith("1:12"))
    assert row == [
        "1:12", "36:432", "975.4", "2.000", "1.790–2.235", "1.00", "1.00–1.00", "1.32", "1.98",
    ]  # fmt: skip
    assert any(
        line.startswith("G1: the guideline's ordering in 3 comparisons: reproduced 0, tie 3")
        for line in lines
    )
    assert "batch 1 · measured" in out
    assert "timed in alternation; settled at 95 %" in out
    assert "not covered" not in out
    pictures = {"guidelines.png", "guidelines_further.png"}
    assert pictures <= {file.name for file in tmp_path.iterdir()}


def test_a_device_without_its_runtime_ends_with_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(self: TargetBook, name: str, **options: object) -> MeasuredTarget:
        raise DeviceError("gpu: torch 2 sees no CUDA GPU; use a machine that has one")

    monkeypatch.setattr(TargetBook, "open", opened)
    code, out, err = run("--target", "gpu")
    assert (code, out) == (1, "")
    assert "use a machine that has one" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--target", "toaster"), "--target .*one of cpu, arm, gpu.*; got 'toaster'"),
        (("--target", "arm,cpu"), "--target .*; got 'arm,cpu'"),
        ((), "--target"),
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
