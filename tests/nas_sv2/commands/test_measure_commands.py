"""`measure`, `doctor` and `measurements` as a user meets them, on a device with written times."""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from scripted import PLAN, ROUNDS, RUNS, ScriptedDevice, measurement_of, samples_of

from nas_sv2.api.measuring import measure
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.show.measure_tables import network_name
from nas_sv2.space.families.published import published_network
from nas_sv2.space.units.reference import reference

Run = Callable[..., tuple[int, str, str]]
NAMES = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "torchvision_shufflenet_v2_x1_0")
MS = dict(zip((reference(name).digest for name in NAMES), (1.5, 4.0, 4.02), strict=True))


@dataclasses.dataclass
class TimedDevice(ScriptedDevice):
    """Each network takes its time of `MS`; the plans it was given are kept."""

    plans: list[MeasurePlan] = dataclasses.field(default_factory=list)

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        self.plans.append(plan)
        answered = ScriptedDevice.measure(self, payloads, plan, reference=reference)
        return [
            dataclasses.replace(
                measurement, samples=samples_of([MS[measurement.architecture]] * ROUNDS)
            )
            for measurement in answered
        ]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> TimedDevice:
    """Behind the target `cpu`."""
    device = TimedDevice()
    real = TargetBook.open

    def opened(self: TargetBook, name: str, **options: object) -> object:
        if name != "cpu":
            return real(self, name, **options)  # type: ignore[arg-type]
        store, fresh = options.get("store"), bool(options.get("fresh"))
        return MeasuredTarget(
            MeasuredDevice(
                "cpu",
                device,
                PLAN.changed(sessions=1),
                store,  # type: ignore[arg-type]
                fresh,
            )
        )

    monkeypatch.setattr(TargetBook, "open", opened)
    return device


@pytest.fixture
def run(command_line: Run) -> Run:
    """Runs the command line in an empty folder."""
    return command_line


def test_several_networks_are_measured_in_one_session_and_ranked(
    run: Run, device: TimedDevice
) -> None:
    turned = (NAMES[2], NAMES[0], NAMES[1])
    code, out, _ = run("measure", *turned, "--target", "cpu", "--json")
    rows = json.loads(out)
    assert (code, device.calls.count("measure")) == (0, 1)
    assert [(row["name"], row["rank"]) for row in rows] == list(
        zip(turned, (3, 1, 2), strict=True)
    )
    assert {row["rule"] for row in rows} == {
        "timed in alternation; settled at 95 % for all 3 pairs together; a tie within 1%"
    }
    against = {entry["name"]: entry for entry in rows[0]["against"]}
    assert against[NAMES[0]]["is"] == "faster"
    assert against[NAMES[0]]["settled"]
    assert against[NAMES[0]]["slower_to_faster"] == pytest.approx(2.68)
    assert against[NAMES[0]]["digest"] == rows[1]["digest"]
    assert not against[NAMES[1]]["settled"]
    assert rows[1]["against"][0]["is"] == "slower"
    assert rows[1]["ratio"] == pytest.approx(0.75)
    run("measure", *turned, "--target", "cpu")
    assert device.calls.count("measure") == 2  # afresh, though all are stored


def test_the_order_for_people(run: Run, device: TimedDevice) -> None:
    code, out, _ = run("measure", *NAMES, "--target", "cpu")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    order = lines[lines.index([]) + 1 :]
    assert order[0][:3] == ["order", "on", "cpu"]
    assert order[1] == [NAMES[0]]
    assert order[2] == [NAMES[1], "2.667", "2.667–2.667", "settled"]
    assert order[3] == [NAMES[2], "1.005", "1.005–1.005", "tie"]
    assert "all 3 pairs together" in out
    assert "ratio: to shufflenet_v2_x1_0, which took 2.000 ms meanwhile" in out


def test_emulated_targets_are_ranked_beside_measured_ones(run: Run, device: TimedDevice) -> None:
    _, out, _ = run("measure", *NAMES, "--target", "cpu,arm", "--json")
    rows = json.loads(out)
    assert [row["target"] for row in rows] == ["cpu"] * 3 + ["arm"] * 3
    arm = {row["name"]: row for row in rows[3:]}
    assert arm[NAMES[0]]["rank"] == 1
    tie = next(one for one in arm[NAMES[1]]["against"] if one["name"] == NAMES[2])
    assert (tie["settled"], tie["slower_to_faster_ci"]) == (False, None)
    assert "a tie within 20%" in arm[NAMES[0]]["rule"]


BENCH = """
from nas_sv2.latency.measurements.measurement import Latency

class Bench:
    name, provenance = "bench", "measured"

    def estimate(self, network):
        return Latency.of(network.digest[0] < "8" and 2.0 or 3.0, "measured", "a bench")
"""


def test_an_object_of_the_users_is_a_target_by_its_module_and_attribute(
    run: Run, device: TimedDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_bench.py").write_text(BENCH)
    monkeypatch.syspath_prepend(tmp_path)
    _, out, _ = run("measure", *NAMES, "--target", "arm, my_bench:Bench", "--json")
    rows = json.loads(out)
    assert [row["target"] for row in rows] == ["arm"] * 3 + ["bench"] * 3
    assert {row["ms"] for row in rows[3:]} <= {2.0, 3.0}
    assert rows[3]["provenance"] == "measured"
    assert rows[3]["rule"].startswith("not timed together; a tie")


def test_one_network_is_answered_from_the_store(run: Run, device: TimedDevice) -> None:
    first = json.loads(run("measure", NAMES[0], "--target", "cpu", "--json")[1])
    again = json.loads(run("measure", NAMES[0], "--target", "cpu", "--json")[1])
    assert (first[0].pop("stored"), again[0].pop("stored")) == (False, True)
    assert first == again
    assert first[0]["measured_at"] == "2026-01-01T00:00:00+00:00"
    assert (first[0]["rank"], first[0]["rule"], first[0]["against"]) == (1, None, [])
    assert device.calls.count("measure") == 1
    told = "stored, measured 2026-01-01 00:00 UTC; --fresh measures it again"
    assert told in run("measure", NAMES[0], "--target", "cpu")[1]
    assert told not in run("measure", NAMES[0], "--target", "cpu", "--fresh")[1]
    assert device.calls.count("measure") == 2


def test_a_stored_figure_shows_its_date_in_python(device: TimedDevice, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'a.db'}"
    first, again = (measure([NAMES[0]], target="cpu", storage=storage) for _ in range(2))
    assert "stored" not in str(first)
    assert "stored, measured 2026-01-01T00:00:00" in str(again)
    assert "stored, measured 2026-01-01T00:00:00" in again._repr_html_()


def test_a_contended_figure_does_not_stay(run: Run, device: TimedDevice) -> None:
    device.script = lambda number: measurement_of(
        conditions=({"at_s": 0.0, "runnable": 9 if number < 2 else 1},) * 3
    )
    found = [
        json.loads(run("measure", NAMES[0], "--target", "cpu", "--json")[1])[0] for _ in range(4)
    ]
    assert [one["contended"] for one in found] == [True, True, False, False]
    assert [one["stored"] for one in found] == [False, False, False, True]
    assert device.calls.count("measure") == 3


def test_notes_on_several_targets_name_the_target(run: Run, device: TimedDevice) -> None:
    out = run("measure", NAMES[0], "--target", "cpu,arm")[1]
    assert "ratio on cpu: to shufflenet_v2_x1_0, which took 2.000 ms meanwhile" in out
    assert f"{NAMES[0]} on arm: " in out


def test_options_change_the_plan(run: Run, device: TimedDevice) -> None:
    options = ("--threads", "2", "--batch", "4", "--affinity", "0, 1", "--sustained", "0.5")
    code, _, _ = run("measure", NAMES[0], "--target", "cpu", *options)
    assert code == 0
    assert device.plans == [
        dataclasses.replace(PLAN, threads=2, batch=4, affinity=(0, 1), heat_s=30.0)
    ]
    run("device", "grade", "--target", "cpu", "--quick", "--pause", "0", "--affinity", "1")
    assert [plan.affinity for plan in device.plans[1:]] == [(1,)] * 3


def test_several_sessions_are_several_agents_and_one_figure(run: Run, device: TimedDevice) -> None:
    shown = run("measure", NAMES[0], "--target", "cpu", "--sessions", "3", "--json")[1]
    (row,) = json.loads(shown)
    assert device.calls == ["measure", "close"] * 3
    assert [plan.loads for plan in device.plans] == [2, 2, 2]
    assert (row["sessions"], row["runs"]) == (3, 3 * ROUNDS * RUNS)
    again = run("measure", NAMES[0], "--target", "cpu")[1]
    assert f"{3 * ROUNDS * RUNS} in 3" in again
    assert device.calls.count("measure") == 3
    run("measure", NAMES[0], "--target", "cpu", "--sessions", "4")
    assert device.calls.count("measure") == 7, "the stored one has fewer sessions than asked"
    assert "ms vary by 4.0%, ratios by 2.0% (assumed until nas-sv2 device grade)" in again


@pytest.mark.parametrize("sessions", ["0", "101"])
def test_a_number_of_sessions_has_limits(run: Run, device: TimedDevice, sessions: str) -> None:
    code, _, said = run("measure", NAMES[0], "--target", "cpu", "--sessions", sessions)
    assert code == 2
    assert said.count("\n") == 1
    assert "sessions" in said and sessions in said and "100" in said
    assert "measure" not in device.calls


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ("measure", NAMES[0], "--target", "cpu", "--precision", "fp4"),
            "--precision .*; got 'fp4'",
        ),
        (("measure", NAMES[0], "--target", "cpu", "--threads", "0"), "--threads .*; got 0"),
        (("measure", NAMES[0], "--target", "cpu", "--batch", "-1"), "--batch .*; got -1"),
        (
            ("measure", NAMES[0], "--target", "cpu", "--affinity", "0-3"),
            "--affinity .*; got '0-3'",
        ),
        (("measure", NAMES[0], "--target", "cpu", "--affinity", ""), "--affinity .*; got ''"),
        (("measure", NAMES[0], "--target", "cpu", "--affinity", "²"), "--affinity .*; got '²'"),
        (("measure", NAMES[0], "--target", "cpu", "--sustained", "0"), "--sustained .*; got 0.0"),
        (
            ("measure", NAMES[0], "--target", "cpu", "--sustained", "nan"),
            "--sustained .*; got nan",
        ),
        (("measure", *[NAMES[0]] * 17, "--target", "cpu"), "number of networks .*; got 17"),
        (("device", "grade", "--target", "toaster"), "--target .*; got 'toaster'"),
        (("device", "grade", "--target", "cpu,arm"), "--target .*; got 'cpu,arm'"),
        (("device", "grade", "--target", "cpu", "--sessions", "0"), "--sessions .*; got 0"),
        (
            ("device", "grade", "--target", "cpu", "--quick", "--sessions", "2"),
            "--sessions .*; got 2",
        ),
        (("device", "grade", "--target", "cpu", "--pause", "-1"), "--pause .*; got -1.0"),
        (("db", "export"), "--storage"),
        (("db", "merge", "none.jsonl"), "none.jsonl"),
        (("db", "merge", "other.jsonl"), "nas_sv2_measurements .*; got 7"),
        (("db", "diff", "other.jsonl", "none.jsonl"), "other.jsonl"),
        (("db", "diff", "sqlite:///none.db", "none.jsonl"), "got 'sqlite:///none.db'"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_writes_nothing(
    run: Run, device: TimedDevice, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    (tmp_path / "other.jsonl").write_text('{"nas_sv2_measurements": 7}\n')
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.search(named, err), err
    assert sorted(tmp_path.rglob("*")) == before
    assert "measure" not in device.calls


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("measure", NAMES[0], "--target", "cpu", "--precision", "fp16"), "'fp16'"),
        (
            ("measure", NAMES[0], "--target", "arm", "--threads", "2"),
            "^nas-sv2: --threads must be left out: arm has no such setting; got '2'",
        ),
        (("measure", NAMES[0], "--target", "arm", "--affinity=0,1"), "--affinity .*; got '0,1'"),
        (("measure", NAMES[0], "--target", "arm", "--sustained", "2"), "--sustained .*; got '2'"),
        (("device", "grade", "--target", "arm"), "must be a measured target"),
        (("device", "grade", "--target", "arm", "--threads", "2"), "--threads .*; got '2'"),
    ],
)
def test_what_a_target_cannot_do_is_one_line(
    run: Run, device: TimedDevice, arguments: tuple[str, ...], named: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.search(named, err), err
    assert "measure" not in device.calls


def test_a_good_device_exits_0_and_a_poor_one_1(run: Run, device: TimedDevice) -> None:
    code, out, _ = run("device", "grade", "--target", "cpu", "--sessions", "3", "--pause", "0")
    assert (code, out.split()[:2]) == (0, ["cpu", "good"])
    assert "nothing to fix" in out
    device.script = lambda number: measurement_of(beside=samples_of([2.0 + number] * ROUNDS))
    device.calls.clear()
    code, out, _ = run("device", "grade", "--target", "cpu", "--quick", "--pause", "0")
    assert (code, out.split()[:2]) == (1, ["cpu", "poor"])
    assert "poor: the reference network's ms varied by" in out
    assert "Fix: " in out


def test_a_grade_in_stable_keys(run: Run, device: TimedDevice) -> None:
    code, out, _ = run("device", "grade", "--target", "cpu", "--quick", "--pause", "0", "--json")
    data = json.loads(out)
    assert code == 0
    assert {"target", "grade", "sessions", "reference", "reference_ms", "reference_cv"} <= set(
        data
    )
    assert {"network", "ratio", "ratio_cv", "contended", "drift", "noise", "stolen"} <= set(data)
    assert (data["grade"], data["reference_ms"], data["findings"]) == ("good", 2.0, [])


def test_measurements_move_between_databases(
    run: Run, device: TimedDevice, tmp_path: Path
) -> None:
    run("measure", *NAMES, "--target", "cpu")
    code, out, err = run("db", "export", "--out", "moved.jsonl")
    assert (code, out, err) == (0, "", "3 measurements written\n")
    code, printed, _ = run("db", "export")
    assert printed == (tmp_path / "moved.jsonl").read_text()
    there = ("--storage", "sqlite:///there.db")
    assert run("db", "merge", "moved.jsonl", *there)[1] == (
        "3 measurements added, 0 known already\n"
    )
    assert json.loads(run("db", "merge", "moved.jsonl", *there, "--json")[1]) == {
        "added": 0,
        "known": 3,
    }
    run("measure", NAMES[0], "--target", "cpu", *there, "--fresh")
    run("measure", NAMES[1], "--target", "cpu", *there, "--batch", "2")
    data = json.loads(run("db", "diff", "moved.jsonl", there[1], "--json")[1])
    assert [entry["same_runs"] for entry in data["compared"]] == [False, True, True]
    code, out, _ = run("db", "diff", "moved.jsonl", there[1])
    assert code == 0
    assert "3 compared: same network" in out
    assert NAMES[0] in out
    code, _, err = run("db", "export", "--out", "moved.jsonl")
    assert (code, "a file that does not exist yet" in err) == (2, True)


def test_a_difference_for_people(run: Run, device: TimedDevice, tmp_path: Path) -> None:
    run("measure", NAMES[0], "--target", "cpu", "--batch", "2")
    run("db", "export", "--out", "two.jsonl")
    here = ("--storage", "sqlite:///here.db")
    run("measure", NAMES[0], NAMES[1], "--target", "cpu", *here)
    _, out, _ = run("db", "diff", here[1], "two.jsonl")
    assert "0 compared" in out
    assert f"not compared, measured under other conditions: {NAMES[0]}: plan.batch 1 | 2" in out
    assert "1 of the networks only the first has" in out


def test_networks_of_every_family_are_called_by_name() -> None:
    for name in ("shufflenet_v2_x1_0", "igcv3_d_x0_7", "nasnet_a_mobile"):
        assert network_name(published_network(name).digest) == name
    assert network_name("0123456789abcdef") == "01234567"


@pytest.mark.parametrize("command", ["measure", "network profile"])
def test_the_network_that_has_no_price_is_named(run: Run, command: str) -> None:
    code, out, said = run(*command.split(), *NAMES, "--target", "arm", "--input", "1x3x2000x2000")
    assert (code, out) == (1, "")
    assert said.count("\n") == 1
    assert (
        f"nas-sv2: {NAMES[0]} at 3x2000x2000: Cortex-A57" in said and "1024 pixels a side" in said
    )
