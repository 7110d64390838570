"""`devices calibrate` and `devices refit`: what they refuse, and a refit by a scripted ARM."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nas_sv2.api.device_costs import REFIT_NETWORKS
from nas_sv2.cli import app
from nas_sv2.errors import ConfigError
from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import FakeDevice

REFIT = ("device", "refit", "board", "--core", "cortex-a57")


def refused(*arguments: str) -> ConfigError:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError), result.output
    return result.exception


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("calibrate", "--core", "cortex-a9"), "core"),
        (("calibrate", "--core", "cortex-a53", "--precision", "int4"), "precision"),
        (("calibrate", "--core", "cortex-a53", "--out", "no/such/folder.json"), "out"),
        (("calibrate", "--core", "cortex-a53", "--resolution", "100"), "resolution"),
        (("refit", "cpu", "--core", "cortex-a57"), "name"),  # an x86
        (("refit", "arm", "--core", "cortex-a57"), "name"),  # emulated itself
        (("refit", "nobody", "--core", "cortex-a57"), "target"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert refused("device", *arguments).field == field
    assert not list(tmp_path.glob("*.json"))


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text("mine")
    assert refused(*REFIT, "--out", str(file)).field == "out"
    assert file.read_text() == "mine"


@dataclasses.dataclass
class Board:
    """A 64-bit ARM that takes 1.5 times as long as the shipped table says."""

    inner: FakeDevice

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def fingerprint(self, plan: object) -> Fingerprint:
        return Fingerprint({"machine": "aarch64", "cpu": "A57"})


def test_a_refit_sets_the_milliseconds_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = EmulatedArm.open("cortex-a57")
    device = Board(FakeDevice("board"))

    def opened(self: TargetBook, name: str, **_: object) -> MeasuredTarget:
        target = MeasuredTarget(MeasuredDevice(name, device, CPU_PLAN))
        monkeypatch.setattr(
            MeasuredTarget,
            "estimate",
            lambda self, architecture: dataclasses.replace(
                table.estimate(architecture), ms=1.5 * table.estimate(architecture).ms
            ),
        )
        return target

    monkeypatch.setattr(TargetBook, "open", opened)
    result = CliRunner().invoke(app, REFIT)
    assert result.exit_code == 0, result.output
    assert (
        "scale fitted to 8 networks measured on the device, typical error ±0.0%" in result.output
    )
    assert "--table cortex-a57.json" in result.output
    assert json.loads((tmp_path / "cortex-a57.json").read_text())
    again = ("--core", "cortex-a55", "--table", "cortex-a57.json", "--out", "t.json")
    assert refused(*REFIT[:3], *again).field == "core"
    assert not Path("t.json").exists()
    refitted = EmulatedArm.open("cortex-a57", file=tmp_path / "cortex-a57.json")
    for name in REFIT_NETWORKS[:2]:
        network = reference(name)
        figure = refitted.estimate(network)
        assert figure.ms == pytest.approx(1.5 * table.estimate(network).ms, rel=1e-3)
        assert "fitted to 8 networks" in figure.note


def test_figures_of_a_file_set_the_milliseconds_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = EmulatedArm.open("cortex-a57")
    first, second = REFIT_NETWORKS[:2]
    short = {first: first, second: f"{second.rpartition('_x')[2].replace('_', '.')}x"}
    rows = [f"{typed},{2 * table.estimate(reference(name)).ms}" for name, typed in short.items()]
    Path("mine.csv").write_text("\n".join(["network,ms", *rows]))
    result = CliRunner().invoke(app, [*REFIT, "--from", "mine.csv"])
    assert result.exit_code == 0, result.output
    assert "scale fitted to 2 figures of mine.csv, typical error ±0.0%" in result.output
    assert "device add board --core cortex-a57 --table cortex-a57.json" in result.output
    network = reference(REFIT_NETWORKS[2])
    figure = EmulatedArm.open("cortex-a57", file=Path("cortex-a57.json")).estimate(network)
    assert figure.ms == pytest.approx(2 * table.estimate(network).ms, rel=1e-3)


def test_the_table_of_another_runtime_is_used_by_the_line_that_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    figures = [f"{name},{number}" for number, name in enumerate(REFIT_NETWORKS[:2], 5)]
    Path("mine.csv").write_text("\n".join(["network,ms", *figures]))
    refit = ("device", "refit", "board", "--core", "cortex-a76", "--from", "mine.csv")
    fp16 = ("--runtime", "ncnn", "--precision", "fp16")
    printed = CliRunner().invoke(app, [*refit, *fp16]).output.splitlines()[-1]
    command = printed.partition("use it with: nas-sv2 ")[2].split()
    assert CliRunner().invoke(app, [*command, "--project"]).exit_code == 0
    wrong = [each for each in command if each not in fp16]
    assert refused(*wrong, "--force").field == "runtime"
    assert refused(*wrong, "--core", "cortex-a55", *fp16, "--force").field == "core"
    assert refused(*refit, "--table", "cortex-a76.json", "--out", "t.json").field == "runtime"
    for name in ("my board", "arm"):  # no device can be added by it
        assert refused("device", "refit", name, *refit[3:], "--out", "t.json").field == "name"
    assert not Path("t.json").exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("network,ms\nshufflenet_v2_x1_0,9\n", "from must have the latencies of at least 2"),
        ("net,ms\na,1\nb,2\n", "line 2"),
        ("network,ms\nshufflenet_v2_x1_0,9\nshufflenet_v2_x0_5,-1\n", "line 3"),
        ("network,ms\nshufflenet_v2_x1_0,9\nshufflenet_v2_x1_0,8\n", "line 3"),
        ("network,ms\nshufflenet_v2_x1_0,nan\n", "line 2"),
        ("network,ms\nshufflenet_v2_x1_0,9\n1x,9\n", "by another name too"),
        ("network,ms\nshufflenet_v2_x1_0,9\nnobody,8\n", "nobody"),
        ('network,ms\n"a', "must be a CSV file"),
        ("", "at least 2"),
    ],
)
def test_figures_of_no_network_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text(text)
    result = CliRunner().invoke(app, [*REFIT, "--from", "mine.csv"])
    assert isinstance(result.exception, ConfigError)
    assert error in str(result.exception)
    assert not Path("cortex-a57.json").exists()
    missing = CliRunner().invoke(app, [*REFIT, "--from", "none.csv"])
    assert isinstance(missing.exception, ConfigError)


@pytest.mark.parametrize("option", [("--precision", "int8"), ("--runtime", "litert")])
def test_what_is_of_figures_alone_is_refused_beside_a_device(option: tuple[str, str]) -> None:
    error = refused(*REFIT, *option)
    assert str(error).startswith(f"{option[0][2:]} must be left out without --from")


def test_the_catalogue_is_listed() -> None:
    result = CliRunner().invoke(app, ["device", "catalogue", "--json"])
    rows = {row["name"]: row for row in json.loads(result.output)}
    assert rows["galaxy-a03s"]["mean_error"] < 0.01
    assert rows["pixel-4"]["source"].startswith("https://github.com/")
    assert rows["gtx-1080ti"]["figures"] == 86
    assert 0.085 < rows["gtx-1080ti"]["unseen_error"] < 0.11
