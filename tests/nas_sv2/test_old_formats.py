"""A database, study files and an exported package of an earlier version still open.

`old/a8cd13e.tar.xz` was made by the commit of that name: a search of five networks on `arm` and
`cpu`, its replay, its confirmation, a certificate, a measurement, and the exported winner.
"""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nas_sv2
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.latency.targets.entries import DeviceTarget
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.networks.lowering import load_network
from nas_sv2.studies.findings.confirmation import Confirmation
from nas_sv2.testing import FakeDevice

Run = Callable[..., tuple[int, str, str]]
ARCHIVE = Path(__file__).with_name("old") / "a8cd13e.tar.xz"
STORAGE = ("--storage", "sqlite:///a8cd13e.db")


@pytest.fixture
def old(command_line: Run) -> Run:
    """The command line in a folder with all that the earlier version wrote."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(filter="data")
    return command_line


def front(run: Run, study: str) -> dict[str, Any]:
    code, out, err = run("front", study, *STORAGE, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def known_then(value: Any, old: Any) -> Any:
    """Leave out the keys that the earlier version did not have; they must be empty."""
    if isinstance(value, list):
        return [known_then(*pair) for pair in zip(value, old, strict=True)]
    if not isinstance(value, dict):
        return value
    assert not any(value[key] for key in value.keys() - old.keys())
    return {key: known_then(value[key], old[key]) for key in value.keys() & old.keys()}


def test_its_front_is_the_same(old: Run) -> None:
    then, now = json.loads(Path("front.json").read_text()), front(old, "old")
    before, after = (
        map(Confirmation.from_json, each.pop("confirmations")) for each in (then, now)
    )
    assert known_then(now, then) == then
    assert list(after) == list(before)


def test_its_certificate_and_confirmation_are_stated(old: Run) -> None:
    code, out, err = old("front", "old", *STORAGE)
    assert code == 0, err
    assert "certified on animals@c528e8b0d71f8a92, space tiny" in out
    assert "not shown to beat shufflenet_v2_x1_0" in out
    assert "; accuracy after briefest_long " in out and " points, 95 % " in out


@pytest.fixture
def its_machine(old: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the cpu on which the study was begun; another is refused."""
    lines = Path("measurements.jsonl").read_text(encoding="utf-8").splitlines()
    device = FakeDevice("cpu", facts=json.loads(lines[1])["fingerprint"])
    monkeypatch.setattr(DeviceTarget, "device", lambda *_: device)


@pytest.mark.usefixtures("its_machine")
def test_its_search_goes_on(old: Run) -> None:
    asked = ("--target", "arm,cpu", "--budget", "140M", "--space", "tiny.yaml")
    how = ("--recipe", "brief.yaml", "--guidelines", "off", "--study", "old", "--trials", "6")
    code, out, err = old("search", *asked, *how, *STORAGE, "--json")
    assert code == 0, err
    assert "5 of 6 trials done" in out


def test_its_measurements_are_read_and_merge_to_nothing_new(old: Run) -> None:
    code, out, err = old("db", "merge", "measurements.jsonl", *STORAGE, "--json")
    assert code == 0, err
    assert json.loads(out) == {"added": 0, "known": 11}


def test_its_package_is_verified_and_loads(old: Run) -> None:
    code, out, err = old("network", "verify", "winner", "--json")
    assert code == 0, out + err
    network = nas_sv2.load("winner")
    assert network(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_its_report_is_drawn(old: Run) -> None:
    code, _, err = old("report", "old", *STORAGE, "--out", "report.html")
    assert code == 0, err
    assert "f97cbf6b7e4efd53" in Path("report.html").read_text()


def test_its_files_have_the_same_content(old: Run) -> None:
    assert load_network(Path("winner/architecture.yaml")).digest == "f97cbf6b7e4efd53"
    assert load_network(Path("winner/trained.yaml")).digest == "3f7900341c1a4c8e"
    assert open_space("tiny.yaml").digest == "b2cbc634cb947efa"
    assert open_recipe("brief.yaml").digest == "78baefde82f0083f"
