"""The agent on boards that lack something, or hold another version of it; all in this process."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nas_sv2.latency.agent import agent, onnx_run
from nas_sv2.latency.agent.needed import Refusal, needed
from nas_sv2.latency.devices.local import CPU_PLAN

PLAN: dict[str, Any] = {**CPU_PLAN.to_json(), "cpu_time_is_latency": True}


@pytest.fixture(autouse=True)
def started_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent may use the cores that it was started with: here those of this worker."""
    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    monkeypatch.setattr(agent, "ALL_CORES", here)


def with_runtime(monkeypatch: pytest.MonkeyPatch, version: str, **more: Any) -> None:
    runtime = SimpleNamespace(
        __name__="onnxruntime",
        __version__=version,
        get_available_providers=lambda: ["CPUExecutionProvider"],
        **more,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)


@pytest.mark.parametrize(
    ("version", "batch", "least"),
    [
        ("1.11.1", 1, "1.12"),
        ("1.9.0", 1, "1.12"),
        ("0.5", 1, "1.12"),
        ("1.12.0", 1, ""),
        ("1.12.1", 2, "1.14"),
        ("1.13.1", 8, "1.14"),
        ("1.14.0", 8, ""),
        ("1.16.0rc1", 2, ""),
        ("1.32.0.dev20261101001", 2, ""),
        ("2.0", 2, ""),
    ],
)
def test_the_least_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, version: str, batch: int, least: str
) -> None:
    with_runtime(monkeypatch, version)
    plan = {**PLAN, "batch": batch}
    if least:
        with pytest.raises(Refusal, match=rf"onnxruntime {version} is too old.*{least}"):
            agent.fingerprint(plan)
        return
    facts = agent.fingerprint(plan)
    assert facts["runtime_version"] == version
    assert "runtime_build" not in facts  # get_build_info came with 1.15


def test_a_build_is_named_if_the_runtime_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with_runtime(monkeypatch, "1.15.0", get_build_info=lambda: "ORT Build Info")
    assert agent.fingerprint(PLAN)["runtime_build"] == "ORT Build Info"


BROKEN = {
    "numpy 2": (
        "import sys\n"
        "print('A module that was compiled using NumPy 1.x cannot be run in\\n"
        "NumPy 2.2.6 as it may crash. To support both', file=sys.stderr)\n"
        "raise ImportError",
        r"using NumPy 1.x cannot be run in NumPy 2.2.6 as it may crash\).*pip install 'numpy<2'",
    ),
    "numpy's own words": (
        "raise ImportError('numpy.core.multiarray failed to import')",
        "multiarray failed to import.*'numpy<2', or a newer broken_runtime",
    ),
    "a library of the system": (
        'raise ImportError("libc.so.6: version `GLIBC_2.34\' not found")',
        "GLIBC_2.34' not found.*is there but cannot be loaded",
    ),
    "no reason": ("raise ImportError", r"ImportError\(\).*is there but cannot be loaded"),
    "a fault of its own": ("1 / 0", "division by zero.*is there but cannot be loaded"),
    "a package that it needs": (
        "import flatbuffers_of_nobody",
        "No module named 'flatbuffers_of_nobody'.*is there but cannot be loaded",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_runtime_that_cannot_be_imported_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    text, message = BROKEN[name]
    (tmp_path / "broken_runtime.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refusal, match=message):
        needed("broken_runtime")


def test_a_missing_runtime_is_to_be_installed() -> None:
    with pytest.raises(Refusal, match=r"install it there: .* install no_such_runtime"):
        needed("no_such_runtime")


def test_the_package_of_a_missing_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name for pip is not that of its module."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "ai_edge_litert", raising=False)
    (_, _, answer) = answers_to({**PLAN, "runtime": "litert"}, "fingerprint")
    assert answer["error"] == "runtime"
    assert answer["message"].endswith("-m pip install ai-edge-litert")


def test_a_folder_or_file_of_the_name_of_a_runtime_is_no_runtime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A clone of its repository in the home folder of a board is imported like a package."""
    (tmp_path / "cloned_runtime").mkdir()
    (tmp_path / "small_runtime.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("cloned_runtime", "small_runtime"):
        with pytest.raises(Refusal, match=rf"{name} there is no package: .*{name}.*rename"):
            needed(name)


def test_a_fault_is_described_whatever_the_runtimes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    try:
        raise KeyError("x")
    except KeyError as error:
        assert "onnxruntime ?" in agent._fault(error)


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 4, 0), (3, 6, 15), (3, 7, 16)])
def test_an_old_python_says_so_in_a_line(version: tuple[int, ...]) -> None:
    """The texts of the agent are not even sent to be parsed."""
    code = f"import sys;sys.version_info={(*version, 'final', 0)!r};{agent.BOOTSTRAP}"
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], input=b"", capture_output=True, check=False
    )
    assert said.returncode == 1
    assert said.stderr.decode().count("\n") == 1
    assert b"this is Python %d.%d, but 3.8 or later is needed" % version[:2] in said.stderr


def answers_to(plan: dict[str, Any], operation: str = "outputs") -> list[dict[str, Any]]:
    network = {"digest": "", "bytes": 1, "keep": False}
    request = {"op": operation, "plan": plan, "networks": [network]}
    answers = io.BytesIO()
    agent.serve(io.BytesIO(json.dumps(request).encode() + b"\n" + b"m"), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (AttributeError("no such thing"), "agent", "AttributeError: no such thing (in failing"),
        (KeyError("threads"), "agent", f"Python {sys.version.split()[0]}"),
        (MemoryError(), "model", "not enough memory"),
        (OSError(errno.EPERM, "Operation not permitted"), "device", "not permitted"),
        (Refusal("model", "bad node"), "model", "bad node"),
    ],
)
def test_no_fault_ends_the_agent(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, message: str
) -> None:
    def failing(bodies: list[bytes], plan: dict[str, Any]) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(agent, "outputs", failing)
    greeting, received, answer = answers_to(PLAN)
    assert greeting == {"agent": agent.VERSION}
    assert received == {"received": True}
    assert answer["error"] == kind
    assert message in answer["message"]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError(errno.ENOSPC, "No space left on device"),
        json.JSONDecodeError("Unterminated string", "", 0),  # the disk filled up meanwhile
    ],
)
def test_a_board_without_room_for_a_profile_says_so(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(profiled: object) -> list[Any]:
        raise error

    monkeypatch.setattr(onnx_run, "node_times", failing)
    answer = answers_to(PLAN, "profile")[-1]
    assert answer["error"] == "device"
    assert "free some disk, or set TMPDIR" in answer["message"]


def test_more_threads_than_cores_are_refused() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores is not None
    with pytest.raises(Refusal, match=rf"^threads {cores + 1}: at most {cores} can run"):
        agent.fingerprint({**PLAN, "threads": cores + 1})
    assert agent.fingerprint({**PLAN, "threads": cores})["threads"] == cores


def test_a_system_that_forbids_pinning_is_measured_unpinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if agent.ALL_CORES is None:
        pytest.skip("threads cannot be pinned here")

    def forbidden(process: int, cores: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    assert agent.fingerprint(PLAN)["affinity"] == agent.ALL_CORES


def test_more_threads_than_pinned_cores_are_refused() -> None:
    if agent.ALL_CORES is None:
        pytest.skip("threads cannot be pinned here")
    pinned = {**PLAN, "threads": 2, "affinity": [agent.ALL_CORES[0]]}
    with pytest.raises(Refusal, match=r"at most 1 can run at once \(the cores \[\d+\]"):
        agent.fingerprint(pinned)
