"""The device with real agent processes behind it: ours, and ones that fail in every way."""

import ast
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency import device as device_module
from nas_sv2.latency.device import AgentDevice, agent_command, agent_text
from nas_sv2.latency.local import local_device
from nas_sv2.latency.plan import MeasurePlan

QUICK = MeasurePlan(min_runs=10, max_runs=20, warmup_runs=3, timeout_s=20)
DIGEST = "0123456789abcdef"


def convolution(batch: int | str = 1, scale: float = 1.0) -> bytes:
    """A 3×3 convolution of 4 to 8 channels at 16×16, and the sum over its map."""
    kernel = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32) * scale
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["means"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 4, 16, 16])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, [batch, 8, 1, 1])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model


@pytest.fixture(scope="module")
def local() -> Iterator[AgentDevice]:
    with local_device("here") as device:
        yield device


def test_it_measures(local: AgentDevice) -> None:
    measurement = local.measure(convolution(), QUICK, architecture=DIGEST)
    assert QUICK.min_runs <= measurement.runs <= QUICK.max_runs
    assert measurement.architecture == DIGEST
    assert measurement.plan == QUICK
    assert measurement.fingerprint == local.fingerprint(QUICK)
    assert measurement.warmup_runs >= 2 * QUICK.warmup_runs
    assert min(measurement.wall_ms) > 0
    assert (measurement.switches is not None) == (sys.platform == "linux")


def test_the_fingerprint_names_what_runs(local: AgentDevice) -> None:
    facts = local.fingerprint(QUICK).facts
    assert facts["runtime_version"] == onnxruntime.__version__
    assert facts["provider"] == "CPUExecutionProvider"
    assert facts["numpy"] == np.__version__
    assert facts["cpu"]


def test_it_gives_the_outputs_for_comparison(local: AgentDevice) -> None:
    model = convolution(batch=2)
    plan = dataclasses.replace(QUICK, batch=2)
    image = np.random.default_rng(plan.seed).standard_normal((2, 4, 16, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": image})[0].ravel()
    assert local.outputs(model, plan) == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_symbolic_batch_takes_the_plans(local: AgentDevice) -> None:
    plan = dataclasses.replace(QUICK, batch=3)
    assert len(local.outputs(convolution(batch="N"), plan)) == 3 * 8


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"not a model", "onnxruntime:.*protobuf"),
        (convolution(batch=4), "but the plan says batch 1"),
        (convolution(scale=float("inf")), "not finite"),
    ],
)
def test_a_bad_model_is_refused_and_the_agent_lives_on(
    local: AgentDevice, model: bytes, message: str
) -> None:
    local.start()
    before = local.process_id
    with pytest.raises(MeasurementError, match=f"here: .*{message}"):
        local.measure(model, QUICK, architecture=DIGEST)
    assert local.process_id == before
    assert local.measure(convolution(), QUICK, architecture=DIGEST).runs


def test_an_agent_that_died_unasked_is_started_anew(local: AgentDevice) -> None:
    local.fingerprint(QUICK)
    first = local.process_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    time.sleep(0.05)
    assert local.measure(convolution(), QUICK, architecture=DIGEST).runs
    assert local.process_id != first


def test_torch_runs_the_architecture(local: AgentDevice) -> None:
    from nas_sv2.latency.payload import payload_of
    from nas_sv2.space import reference

    plan = dataclasses.replace(QUICK, runtime="torch", torch_device="cpu", lowering="plain")
    small = dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64, classes=10)
    payload = payload_of(small, plan)
    assert len(local.outputs(payload, plan)) == 10
    measurement = local.measure(payload, plan, architecture=small.digest)
    assert measurement.fingerprint.facts["runtime"] == "torch"
    assert measurement.fingerprint.facts["provider"] == "cpu"
    assert measurement.series == {}


def test_leaving_ends_the_agent() -> None:
    with local_device("here") as device:
        device.start()
        process = device.process_id
    assert process is not None
    assert not _exists(process)


def test_the_texts_are_python_3_8_and_import_no_package_of_ours() -> None:
    for text in _texts(agent_text()):
        tree = ast.parse(text, feature_version=(3, 8))
        at_start = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in at_start for alias in node.names}
        assert not any("nas_sv2" in name for name in names)


def test_a_python_without_our_packages_says_what_to_install() -> None:
    bare = (sys.executable, "-I", "-S", *agent_command(sys.executable)[1:])
    with AgentDevice("bare", bare) as device:
        with pytest.raises(
            DeviceError, match=r"bare: cannot import numpy .* -m pip install numpy"
        ):
            device.fingerprint(QUICK)
        with pytest.raises(DeviceError, match="bare"):  # and it is still there to say so
            device.measure(convolution(), QUICK, architecture=DIGEST)


GREETS = """
import json, sys, time, os
stdin = sys.stdin.buffer
for _ in range(int(stdin.readline())):
    stdin.read(int(stdin.readline()))
print('{"agent": "1"}', flush=True)
request = json.loads(stdin.readline())
stdin.read(request["bytes"])
"""
EMPTY = (
    '"series": {}, "fingerprint": {}, "warmup_runs": 1, "stationary": true, "runnable": 1, '
    '"switches": null'
)


def answering(text: str) -> str:
    return f"{GREETS}\nprint({text!r}, flush=True)\nstdin.read()"


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        (
            "import sys; sys.exit('no space left')",
            DeviceError,
            "code 1: no space left; it did not",
        ),
        ("print('Welcome to the board!')", DeviceError, "'Welcome to the board!', which is no"),
        ("print('{}')", DeviceError, "is not the greeting"),
        ("print('x' * (1 << 25))", DeviceError, "writes without end"),
        (f"{GREETS}\nos._exit(3)", MeasurementError, "ended with code 3"),
        (f"{GREETS}\nos.kill(os.getpid(), 9)", MeasurementError, "ended by signal 9"),
        (f"{GREETS}\nraise SystemError('bus')", MeasurementError, "SystemError: bus"),
        (f"{GREETS}\nos.close(1); time.sleep(60)", MeasurementError, "closed its stdout"),
        (f"{GREETS}\nos.write(2, b'e' * 10**6)\nos._exit(3)", MeasurementError, "code 3: eeee"),
        (answering("[1, 2]"), MeasurementError, "no answer"),
        (answering("Segmentation fault"), MeasurementError, "'Segmentation fault'"),
        (answering('{"digest": "00"}'), MeasurementError, "another model"),
        (answering("{}"), MeasurementError, "has no 'digest'"),
    ],
)
def test_failing_agents(script: str, error: type[Exception], message: str) -> None:
    with AgentDevice("board", (sys.executable, "-S", "-c", script)) as device:
        with pytest.raises(error, match=f"board: .*{message}"):
            device.measure(b"a model", QUICK, architecture=DIGEST)
        assert device.process_id is None or error is MeasurementError


@pytest.mark.parametrize(
    "runs",
    [
        '"wall_ns": [5, 0], "cpu_ns": [5, 5]',
        '"wall_ns": [], "cpu_ns": []',
        '"wall_ns": [5, 5], "cpu_ns": [5]',
        '"wall_ns": 5, "cpu_ns": 5',
        '"cpu_ns": [5]',
    ],
)
def test_answers_that_are_no_measurement(runs: str) -> None:
    import hashlib

    digest = hashlib.sha256(b"a model").hexdigest()
    script = answering(f'{{"digest": "{digest}", {runs}, {EMPTY}}}')
    with (
        AgentDevice("board", (sys.executable, "-S", "-c", script)) as device,
        pytest.raises(MeasurementError, match=r"board: .*no measurement"),
    ):
        device.measure(b"a model", QUICK, architecture=DIGEST)


@pytest.mark.parametrize(
    "then",
    [
        "time.sleep(600)",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "import subprocess; subprocess.run(['sleep', '600'])",
    ],
)
def test_a_hanging_agent_is_killed_with_all_it_started(then: str) -> None:
    plan = dataclasses.replace(QUICK, timeout_s=0.5)
    with AgentDevice("board", (sys.executable, "-S", "-c", f"{GREETS}\n{then}")) as device:
        device.start()
        group = device.process_id
        began = time.monotonic()
        with pytest.raises(MeasurementError, match="no answer within the time limit"):
            device.measure(b"a model", plan, architecture=DIGEST)
        assert time.monotonic() - began < 10
        assert group is not None
        assert not _running("pgid", group)


def test_an_agent_that_does_not_read_cannot_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "START_TIMEOUT_S", 0.3)
    silent = AgentDevice("board", (sys.executable, "-S", "-c", "import time; time.sleep(600)"))
    with silent as device, pytest.raises(DeviceError, match="time limit; it did not start"):
        device.measure(b"m" * (1 << 22), QUICK, architecture=DIGEST)


def test_a_command_that_does_not_exist() -> None:
    with pytest.raises(DeviceError, match="board: cannot start '/no/such/python'"):
        AgentDevice("board", agent_command("/no/such/python")).start()


def _texts(framed: bytes) -> list[str]:
    count, _, rest = framed.partition(b"\n")
    texts = []
    for _ in range(int(count)):
        length, _, rest = rest.partition(b"\n")
        texts.append(rest[: int(length)].decode())
        rest = rest[int(length) :]
    return texts


def _exists(process: int) -> bool:
    return bool(_running("pid", process))


def _running(column: str, number: int) -> list[str]:
    """The states of processes that are not dead; one that nobody has waited for yet is."""
    command = ["ps", "-A", "-o", f"{column}=,stat="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    states = [line.split()[1] for line in lines if line.split()[:1] == [str(number)]]
    return [state for state in states if not state.startswith("Z")]
