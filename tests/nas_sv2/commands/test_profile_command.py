"""`profile` as a user meets it, on the emulated core, and where it must refuse."""

import json
import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from scripted import PLAN, ScriptedDevice

from nas_sv2.latency.breakdown.profiled import profile_of
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.show.network_tables import adding_up
from nas_sv2.space.units.reference import reference

Run = Callable[..., tuple[int, str, str]]
V2, V1 = "shufflenet_v2_x0_5", "mobilenet_v1_x0_5"


class ProfiledDevice(ScriptedDevice):
    """Two kernels of a millisecond each; the network takes 3 ms (`scripted`)."""

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        return [
            NodeTime("stem.0", "FusedConv", 1000.0),
            NodeTime("ReorderOutput", "ReorderOutput", 250.5),
            NodeTime("head.classifier", "Gemm", 749.5),
        ]


@pytest.fixture
def run(command_line: Run) -> Run:
    return partial(command_line, "network", "profile")


def behind_cpu(monkeypatch: pytest.MonkeyPatch, device: ScriptedDevice) -> None:
    real = TargetBook.open

    def opened(self: TargetBook, name: str, **options: object) -> object:
        if name != "cpu":
            return real(self, name, **options)  # type: ignore[arg-type]
        return MeasuredTarget(MeasuredDevice("cpu", device, PLAN))

    monkeypatch.setattr(TargetBook, "open", opened)


def ms_of(lines: list[str], first: str, last: str) -> list[int]:
    """The ms of a table's rows, in µs: the first number with three decimals in each."""
    rows = lines[lines.index(first) + 1 :]
    rows = rows[: next(i for i, row in enumerate(rows) if row.startswith(last)) + 1]
    return [round(1000 * float(re.findall(r" (\d+\.\d{3}) ", row + " ")[0])) for row in rows]


def test_both_tables_add_up_to_the_stated_sum(run: Run) -> None:
    code, out, _ = run(V2, V1, "--target", "arm")
    assert code == 0
    lines = out.splitlines()
    heads = [line for line in lines if line.startswith((V2, V1)) and "share" in line]
    assert len(heads) == 4
    stated = profile_of(TargetBook.read().open("arm"), reference(V2)).ms
    for head in heads[:2]:
        *parts, total = ms_of(lines, head, "sum")
        assert sum(parts) == total == round(1000 * stated)
    assert [line.split()[0] for line in lines[1:7]] == list(RUN_KINDS)
    assert f"{V2}: 91 kernels sum to {stated:.3f} ms, which is the estimate; nothing ran" in lines
    assert any(line.startswith("arm: Cortex-A57") and "emulated" in line for line in lines)
    assert f"{V2}: run within another's kernel, and counted to it: 37 × relu" in lines


@pytest.mark.parametrize(
    ("by", "column"), [("kind", "kernels"), ("block", "longest kernel"), ("op", "runs as")]
)
def test_one_table_where_asked(run: Run, by: str, column: str) -> None:
    code, out, _ = run(V2, "--target", "arm", "--by", by)
    heads = [line for line in out.splitlines() if line.startswith(V2) and "share" in line]
    assert (code, len(heads), column in heads[0]) == (0, 1, True)


def test_operators_are_listed_with_what_runs_inside_them(run: Run) -> None:
    _, out, _ = run(V2, "--target", "arm", "--by", "op")
    lines = out.splitlines()
    longest = lines[1].split()
    assert longest[:2] == ["stem.0", "0.relu"]
    times = ms_of(lines, lines[0], "sum")
    assert times[:-1] == sorted(times[:-1], reverse=True)
    assert sum(times[:-1]) == times[-1]


def test_data_in_stable_keys(run: Run) -> None:
    code, out, _ = run(V2, V1, "--target", "arm", "--json")
    assert code == 0
    data = json.loads(out)
    assert [(one["name"], one["target"]) for one in data] == [(V2, "arm"), (V1, "arm")]
    for one in data:
        assert one["provenance"] == "emulated"
        assert "Cortex-A57" in one["device"]
        assert sum(kernel["us"] for kernel in one["kernels"]) / 1e3 == pytest.approx(one["sum_ms"])
        assert sum(one["kind_ms"].values()) == pytest.approx(one["sum_ms"])
        blocks = [ms for kinds in one["block_ms"].values() for ms in kinds.values()]
        assert sum(blocks) == pytest.approx(one["sum_ms"])
        assert one["whole"]["ms"] == pytest.approx(one["sum_ms"])
        assert one["whole_beyond_sum"] == pytest.approx(0)
    assert data[0]["digest"] == reference(V2).digest
    assert data[0]["kernels"][0]["ops"] == ["stem.0", "stem.0.relu"]


def test_a_picture_with_a_panel_for_each_network(run: Run, tmp_path: Path) -> None:
    heights = []
    for names in ([V2], [V2, V1, "shufflenet_v2_50"]):
        code, out, _ = run(*names, "--target", "arm", "--out", "profile.png")
        assert (code, "drawn: profile.png" in out) == (0, True)
        with Image.open(tmp_path / "profile.png") as picture:
            heights.append(picture.height)
            colours = picture.convert("RGB").getcolors(2**24)
        assert colours is not None
        # conv, depthwise, shuffle and other in their colours
        assert {(0, 114, 178), (86, 180, 233), (0, 158, 115), (154, 154, 154)} <= {
            colour for _, colour in colours
        }
    assert heights[0] < heights[1]


def test_a_measured_profile_says_what_the_profiler_adds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_cpu(monkeypatch, ProfiledDevice())
    code, out, _ = run(V2, "--target", "cpu", "--by", "kind")
    assert code == 0
    assert (
        f"{V2}: 3 kernels sum to 2.000 ms; without the profiler the network took 3.000 ms "
        "(95 % interval 2.685–3.352), +50.0%: gaps between kernels, 333.3 µs each"
    ) in out
    assert "A board · onnxruntime 1 · 1 thread · batch 1 · measured" in out
    shares = {line.split()[0]: line.split()[-2] for line in out.splitlines()[1:7]}
    assert shares == {
        **{"conv": "50.0%", "depthwise": "0.0%", "element-wise": "0.0%", "shuffle": "0.0%"},
        **{"data": "12.5%", "other": "37.5%"},
    }


def test_a_device_that_cannot_tell_ends_with_its_words(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_cpu(monkeypatch, ScriptedDevice())
    code, out, err = run(V2, "--target", "cpu")
    assert (code, out) == (1, "")
    assert "this device cannot tell what parts of a network take" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("resnet_18", "--target", "arm"), "architecture .*; got 'resnet_18'"),
        ((V2, "--target", "toaster"), "--target .*; got 'toaster'"),
        ((V2, "--target", "arm,cpu"), "--target .*; got 'arm,cpu'"),
        ((V2, "--target", "arm", "--by", "colour"), "--by .*; got 'colour'"),
        ((V2, "--target", "arm", "--out", "nowhere/p.png"), "--out .*; got 'nowhere/p.png'"),
        ((V2, "--target", "arm", "--out", "p.xyz"), r"--out .* \.png or \.svg or \.pdf.*'p.xyz'"),
        ((*[V2] * 17, "--target", "arm"), "number of networks .*; got 17"),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.search(named, err), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(20))
def test_what_is_shown_adds_up(seed: int) -> None:
    generator = random.Random(seed)
    values = [generator.choice((0.0, 10 ** generator.uniform(-4, 2))) for _ in range(30)]
    shown = adding_up(values)
    (total,) = adding_up([sum(values)])
    assert sum(round(1000 * float(text)) for text in shown) == round(1000 * float(total))
    for value, text in zip(values, shown, strict=True):
        assert abs(float(text) - value) < 0.001
        assert value or text == "0.000"
