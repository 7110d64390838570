"""The script of the GPU checks: its commands exist, it goes on, it kills and it judges."""

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from command_tree import fault_of
from pages import ROOT

from nas_sv2.latency.measurements.measurement import Latency


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_checks", ROOT / "benchmarks/gpu_checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("gpu", [True, False])
def test_every_command_of_a_step_exists(
    script: ModuleType, gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = script.steps(gpu)
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        for command in step.commands:
            words = [*command]
            if words[0] == "torchrun":
                words = words[words.index("nas_sv2") + 1 :]
            if words[0].endswith(".py"):
                assert (ROOT / "benchmarks" / words[0]).is_file()
            elif words[0] != "ray":
                assert not fault_of(words, whole=True), words


def test_on_a_cpu_only_what_needs_a_gpu_is_left_out(script: ModuleType) -> None:
    left_out = {step.name: step.left_out for step in script.steps(False) if step.left_out}
    assert {"measure-fp16", "guidelines", "train-fp16", "pruning"} <= left_out.keys()
    assert not {"measure", "search-again", "train-resumed", "paper-table"} & left_out.keys()


def _step(script: ModuleType, folder: Path, name: str, code: str, **more: Any) -> Any:
    """A step that runs a script of its own."""
    path = folder / f"{name}.py"
    path.write_text(code)

    def judge(ran: Any) -> Iterator[Any]:
        yield script.Finding("says ok", ran.out.strip(), ran.out.strip() == "ok")

    return script.Step(name, [(str(path),)], judge, **more)


def test_a_step_that_ended_is_kept_and_one_without_time_is_left(
    script: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "steps").mkdir()
    quick = _step(script, tmp_path, "quick", "print('ok')")
    slow = _step(script, tmp_path, "slow", "import time; time.sleep(60)")
    wrong = _step(script, tmp_path, "wrong", "raise SystemExit('no GPU | here')")
    later = time.monotonic() + 60
    assert script._settle(quick, tmp_path, later).endswith(" s")
    assert "not met: exit code 0" in script._settle(wrong, tmp_path, later)
    assert script._settle(slow, tmp_path, time.monotonic() + 0.2) == "left, the time is over"
    assert not (tmp_path / "steps" / "slow.json").exists()
    text = script.results(tmp_path, [quick, wrong, slow], "cuda")
    assert "| quick | says ok | ok | yes |" in text
    assert "| wrong | exit code 0 | 1: no GPU / here | **no** |" in text
    assert "| slow | left, call again |" in text


def test_a_step_is_killed_once_and_run_again(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    code = (
        "import pathlib, time; done = pathlib.Path('begun').exists()\n"
        "pathlib.Path('begun').touch()\n"
        "print('ok', flush=True)\n"
        "time.sleep(0 if done else 60)\n"
    )
    step = _step(script, tmp_path, "killed", code, killed_at=lambda folder, out: "ok" in out)
    assert "not met" not in script._settle(step, tmp_path, time.monotonic() + 30)
    kept = json.loads((tmp_path / "steps" / "killed.json").read_text())
    assert kept["seconds"] < 30
    assert [(one["expected"], one["found"]) for one in kept["findings"]] == [
        ("says ok", "ok"),
        ("killed once, then run again", "yes"),
    ]
    gone = _step(script, tmp_path, "gone", "print('ok')", killed_at=lambda folder, out: False)
    script._settle(gone, tmp_path, time.monotonic() + 30)
    assert "no, it had ended" in (tmp_path / "steps" / "gone.json").read_text()


def _row(name: str, ms: float, graph_ms: float, against: str, settled: bool) -> dict[str, Any]:
    """A network in the form that `measure --json` prints, measured on a GPU."""
    note = f"event_ms {0.9 * ms:.3g}, graph_ms {graph_ms:.3g}, graph_event_ms 0.5; stable"
    latency = Latency(ms, (ms, ms), ms, "measured", "gpu: a GPU", 100, False, note)
    other = {"name": against, "is": "slower", "settled": settled}
    return {"name": name, **latency.to_json(), "against": [other]}


@pytest.mark.parametrize(
    ("graph_ms", "settled", "unmet"),
    [
        (1.0, True, []),
        (3.0, True, ["one: CUDA graph no slower"]),
        (1.0, False, ["one faster than two, settled"]),
    ],
)
def test_a_measurement_on_a_gpu_is_judged(
    script: ModuleType, tmp_path: Path, graph_ms: float, settled: bool, unmet: list[str]
) -> None:
    rows = [_row("one", 2.0, graph_ms, "two", settled), _row("two", 4.0, 3.0, "one", settled)]
    ran = script.Ran(0, json.dumps(rows), "", 1.0, tmp_path)
    findings = list(script._timed(True)(ran))
    assert [one.expected for one in findings if not one.met] == unmet


def test_the_latency_table_has_the_papers_figures(script: ModuleType) -> None:
    first, second = script.V2[:2]
    row = _row(first, 2.0, 1.5, second, True)
    done = {"measure": {"out": json.dumps([row])}}
    lines = list(script._latency_table(done))
    assert lines[2] == f"| {first} | 2.000 | 1.5 |  |  | 2.40 (417/s) |"
    assert lines[3] == f"| {second} |  |  |  |  | 2.93 (341/s) |"


@pytest.mark.parametrize(
    ("share", "met"), [("15 of 15 (100.0%)", True), ("14 of 15 (93.3%)", False)]
)
def test_the_front_that_survives_pruning_is_read(
    script: ModuleType, tmp_path: Path, share: str, met: bool
) -> None:
    out = (
        "200 networks, front of latency and flops: 15 networks\n"
        f"measured on this device  rejected  61.5%   of the front survive {share}   G1 3\n"
        "the paper's constants    rejected  14.0%   of the front survive 13 of 15 (86.7%)   G1 3\n"
    )
    (found,) = script._survival(script.Ran(0, out, "", 1.0, tmp_path))
    assert (found.found, found.met) == (share.split(" (")[0], met)
