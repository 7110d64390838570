"""The device with real agent processes behind it: ours, and ones that fail in every way."""

import ast
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas_sv2.errors import DeviceError, MeasurementError, MissingRuntime
from nas_sv2.latency.agent import agent
from nas_sv2.latency.agent.needed import Refusal
from nas_sv2.latency.devices import channel as channel_module
from nas_sv2.latency.devices import device as device_module
from nas_sv2.latency.devices.channel import Channel
from nas_sv2.latency.devices.device import AgentDevice, agent_command, agent_text
from nas_sv2.latency.devices.local import local_device
from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan, Runtime
from nas_sv2.space.units.reference import reference

QUICK = MeasurePlan(min_runs=10, max_runs=20, warmup_runs=3, timeout_s=20, reference=None)
DIGEST = "0123456789abcdef"


def convolution(batch: int | str = 1, scale: float = 1.0) -> Payload:
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
    return Payload(DIGEST, model)


def measure(device: AgentDevice, payload: Payload, plan: MeasurePlan = QUICK) -> Measurement:
    """Of one network, without a reference."""
    (measurement,) = device.measure([payload], plan)
    return measurement


A_MODEL = Payload(DIGEST, b"a model")


@pytest.fixture(scope="module")
def local() -> Iterator[AgentDevice]:
    with local_device("here") as device:
        yield device


@dataclasses.dataclass(frozen=True)
class Noted:
    """Makes devices whose agents write their process ids to a file."""

    file: Path

    def __call__(self, command: tuple[str, ...]) -> AgentDevice:
        note = ("sh", "-c", 'echo $$ >> "$0"; exec "$@"', str(self.file))
        return AgentDevice("board", (*note, *command))

    def processes(self) -> list[int]:
        return [int(line) for line in self.file.read_text().split()]


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    return Noted(tmp_path / "agents")


def test_it_measures(local: AgentDevice) -> None:
    measurement = measure(local, convolution())
    assert QUICK.min_runs <= measurement.runs < QUICK.max_runs + QUICK.min_block_runs
    assert measurement.architecture == DIGEST
    assert measurement.plan == QUICK
    assert measurement.fingerprint == local.fingerprint(QUICK)
    assert measurement.warmup_runs >= 2 * QUICK.warmup_runs
    assert min(measurement.samples.wall) > 0
    assert (measurement.samples.switches is not None) == (sys.platform == "linux")
    assert len(measurement.conditions) >= 3
    times = [state["at_s"] for state in measurement.conditions]
    assert times == sorted(times)


def test_networks_are_timed_in_alternation(local: AgentDevice) -> None:
    plan = dataclasses.replace(QUICK, reference="shufflenet_v2_x1_0", block_s=1e-4)
    one, two = dataclasses.replace(convolution(), architecture="two"), convolution(scale=2.0)
    first, second = local.measure([one, two], plan, reference=convolution(scale=3.0))
    assert [first.architecture, second.architecture] == ["two", DIGEST]
    assert first.session == second.session
    assert first.beside == second.beside
    assert first.beside is not None
    assert first.beside.name == "shufflenet_v2_x1_0"
    rounds = sorted(set(first.samples.rounds))
    assert len(rounds) > 2
    assert set(second.samples.rounds) == set(first.beside.samples.rounds) == set(rounds)
    assert first.ratio is not None
    assert first.ratio[0] == pytest.approx(1, rel=0.5)  # the same work, for microseconds


def test_a_kept_network_is_sent_once(local: AgentDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = Channel.send

    def counting(channel: Channel, data: bytes) -> None:
        sent.append(len(data))
        send(channel, data)

    monkeypatch.setattr(Channel, "send", counting)
    plan = dataclasses.replace(QUICK, reference="shufflenet_v2_x1_0")
    reference = convolution(scale=5.0)
    for _ in range(2):
        local.measure([convolution()], plan, reference=reference)
    assert sent[0] - sent[1] == pytest.approx(len(reference.body), abs=10)
    local.close()
    sent.clear()
    local.measure([convolution()], plan, reference=reference)  # a new agent does not have it
    assert sent[-1] > len(reference.body) + len(convolution().body)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned on Linux only")
def test_the_agent_keeps_to_the_plans_cores(local: AgentDevice) -> None:
    core = max(os.sched_getaffinity(0))
    pinned = dataclasses.replace(QUICK, affinity=(core,))
    assert local.fingerprint(pinned).facts["affinity"] == [core]
    assert local.fingerprint(QUICK).facts["affinity"] == sorted(os.sched_getaffinity(0))
    with pytest.raises(DeviceError, match=r"affinity \[4095\]: the cores here are"):
        local.fingerprint(dataclasses.replace(QUICK, affinity=(4095,)))


def test_a_heated_device_shows_its_curve(local: AgentDevice) -> None:
    measurement = measure(local, convolution(), dataclasses.replace(QUICK, heat_s=0.1))
    assert measurement.heating
    assert measurement.heating[-1][0] >= 0.1
    assert measurement.heating[-1][1] > 0


def test_a_gpu_that_is_not_there_is_a_fault_of_the_device(local: AgentDevice) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("has one")
    with pytest.raises(DeviceError, match=r"no provider cuda, but .*cpu; install onnxruntime-gpu"):
        local.fingerprint(dataclasses.replace(QUICK, processor="cuda"))


def test_a_provider_that_runs_no_node_is_refused(local: AgentDevice) -> None:
    """As the wheel's own AzureExecutionProvider does, which is for remote models."""
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build has no such provider")
    with pytest.raises(MissingRuntime, match=r"Azure\w+ runs none of its \d nodes, all fall back"):
        measure(local, convolution(), dataclasses.replace(QUICK, provider="azure"))
    assert measure(local, convolution()).fallen_back is None


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
    session = onnxruntime.InferenceSession(model.body, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": image})[0].ravel()
    assert local.outputs(model, plan) == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_symbolic_batch_takes_the_plans(local: AgentDevice) -> None:
    plan = dataclasses.replace(QUICK, batch=3)
    assert len(local.outputs(convolution(batch="N"), plan)) == 3 * 8


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Payload(DIGEST, b"not a model"), "onnxruntime:.*protobuf"),
        (convolution(scale=float("inf")), "not finite"),
    ],
)
def test_a_bad_model_is_refused_and_the_agent_lives_on(
    noted: Noted, local: AgentDevice, model: Payload, message: str
) -> None:
    with noted(local.command) as device:
        with pytest.raises(MeasurementError, match=f"board: .*{message}"):
            measure(device, model)
        assert measure(device, convolution()).runs
    assert len(noted.processes()) == 1


def test_an_agent_that_died_unasked_is_started_anew(noted: Noted, local: AgentDevice) -> None:
    with noted(local.command) as device:
        device.fingerprint(QUICK)
        (first,) = noted.processes()
        os.kill(first, signal.SIGKILL)
        while _exists(first):
            time.sleep(0.01)
        assert measure(device, convolution()).runs
    assert len(noted.processes()) == 2


def test_torch_runs_the_architecture(local: AgentDevice) -> None:
    from nas_sv2.latency.devices.payload import payload_of
    from nas_sv2.space.units.reference import reference

    plan = dataclasses.replace(QUICK, runtime="torch", lowering="plain", timeout_s=120)
    small = dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64, classes=10)
    payload = payload_of(small, plan)
    assert len(local.outputs(payload, plan)) == 10
    measurement = measure(local, payload, plan)
    assert measurement.fingerprint.facts["runtime"] == "torch"
    assert measurement.fingerprint.facts["provider"] == "cpu"
    assert measurement.series == {}


def test_torch_tells_what_each_operator_takes(local: AgentDevice) -> None:
    from nas_sv2.latency.devices.payload import payload_of
    from nas_sv2.latency.kernels.run_kernels import kernels_run
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.space.units.reference import reference

    plan = dataclasses.replace(QUICK, runtime="torch", lowering="plain")
    small = dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64, classes=10)
    graph = lower(small)
    kernels = kernels_run(graph, local.profile(payload_of(small, plan), plan, 60))
    assert [kernel.ops for kernel in kernels] == [(op.name,) for op in graph.ops]
    us = {kernel.name: kernel.us for kernel in kernels}
    assert min(us.values()) > 0
    assert us["stem.0"] > us["head.conv.relu"]  # on 32 × 32 pixels, and on 2 × 2
    assert {kernel.runs_as for kernel in kernels} >= {"Conv", "Activation", "Shuffle"}
    assert "data" not in {kernel.kind for kernel in kernels}


def test_a_profiler_that_sees_no_kernels_is_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    blind = SimpleNamespace(
        missing=lambda device: None,
        facts=lambda device: {},
        node_times=lambda body, plan: [["stem.0", "Conv", 0.0], ["stem.pool", "MaxPool", 0.0]],
    )
    monkeypatch.setattr(agent, "_torch_run", lambda: blind)
    with pytest.raises(Refusal, match="sees no kernels of the GPU"):
        agent.profile(
            [b""], {"runtime": "torch", "processor": "cuda", "affinity": None, "threads": 1}
        )


@pytest.mark.parametrize(("runtime", "name"), [("litert", "LiteRT"), ("ncnn", "ncnn")])
def test_a_runtime_is_timed_by_the_same_protocol_and_gives_what_onnxruntime_gives(
    runtime: Runtime, name: str
) -> None:
    kinds: tuple[Runtime, ...] = ("onnxruntime", runtime)
    plans = [
        MeasurePlan(runtime=each, min_runs=5, max_runs=5, loads=1, reference=None)
        for each in kinds
    ]
    network = dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64)
    with local_device("here") as device:
        here, there = (device.outputs(payload_of(network, plan), plan) for plan in plans)
        np.testing.assert_allclose(here, there, atol=1e-4)
        payload = payload_of(network, plans[1])
        (measurement,) = device.measure([payload], plans[1])
        assert measurement.fingerprint.facts["runtime"] == runtime
        with pytest.raises(DeviceError, match=f"{name}'s package for Python gives no times of"):
            device.profile(payload, plans[1], 60.0)
        unread = Payload(network.digest, b"no model")
        with pytest.raises(MeasurementError, match=f"{name}: "):
            device.outputs(unread, plans[1])


def test_leaving_ends_the_agent(noted: Noted, local: AgentDevice) -> None:
    with noted(local.command) as device:
        device.fingerprint(QUICK)
        (process,) = noted.processes()
        assert _exists(process)
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
            measure(device, convolution())


GREETS = """
import json, sys, time, os
stdin = sys.stdin.buffer
for _ in range(int(stdin.readline())):
    stdin.read(int(stdin.readline()))
print('{"agent": "2"}', flush=True)
request = json.loads(stdin.readline())
for network in request["networks"]:
    stdin.read(network["bytes"])
"""
BANNERS = {
    "a line": b"Welcome to Ubuntu\n",
    "Latin-1": "Grüße, schöne Welt\n".encode("latin-1"),
    "escape codes without a line end": b"\x1b[2J\x1b[32mneofetch\x1b[0m",
    "lines of Windows": b"one\r\n\r\ntwo\r\n",
    "JSON of another program": b'{"agent of": 1}\n{"networks": []}\n[1]\n',
    "many lines": b"*** a message of the day ***\n" * 1000,
}


@pytest.mark.parametrize("name", BANNERS)
def test_a_login_shell_may_print_before_the_agent(name: str) -> None:
    script = f"import sys; sys.stdout.buffer.write({BANNERS[name]!r}); sys.stdout.flush()\n"
    facts = {"runtime": "none", "runtime_version": "1", "threads": 1, "precision": "fp32"}
    answer = f"print(json.dumps({{'fingerprint': {facts}}}), flush=True)\nstdin.read()"
    command = (sys.executable, "-S", "-c", f"{script}{GREETS}\n{answer}")
    with AgentDevice("board", command) as device:
        assert device.fingerprint(QUICK).facts == facts


def test_a_login_shell_that_prints_without_end_is_told_to_be_silent() -> None:
    script = "while True: print('Welcome to the board!')"
    with (
        AgentDevice("board", (sys.executable, "-S", "-c", script)) as device,
        pytest.raises(DeviceError, match=r"no greeting.*Welcome to the board!.*~/\.bashrc"),
    ):
        device.fingerprint(QUICK)


WORDS = {
    "docker": (
        "docker: Cannot connect to the Docker daemon. Is it running?\n\nRun 'docker run --help'",
        "code 125: docker: Cannot connect to the Docker daemon. Is it running? | Run 'docker run",
    ),
    "adb": (
        "adb: device unauthorized.\nThis adb server's keys are not set\nOtherwise check\n",
        "code 125: adb: device unauthorized. | This adb server's keys are not set | Otherwise",
    ),
    "a traceback": (
        'Traceback (most recent call last):\n  File "x", line 1\n    a\nKeyError: 7\n',
        "code 125: KeyError: 7; the agent did not start",
    ),
    "escape codes": ("\x1b[31mbad\x1b[0m\x07", "code 125: [31mbad[0m; the"),
    "a flood": ("\n".join(f"line {number}" for number in range(1000)), "line 998 | line 999;"),
}


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("stream", [1, 2])
def test_the_whole_error_of_a_program_is_shown(name: str, stream: int) -> None:
    """On stderr, and on stdout, where older adb writes what the device says."""
    words, shown = WORDS[name]
    script = f"import os; os.write({stream}, {words.encode()!r}); os._exit(125)"
    with (
        AgentDevice("board", (sys.executable, "-S", "-c", script)) as device,
        pytest.raises(DeviceError) as caught,
    ):
        device.fingerprint(QUICK)
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2500


SLOW_READER = """
import json, sys, time
stdin = sys.stdin.buffer
for _ in range(int(stdin.readline())):
    stdin.read(int(stdin.readline()))
print('{"agent": "2"}', flush=True)
request = json.loads(stdin.readline())
left = request["networks"][0]["bytes"]
while left:
    left -= len(stdin.read(min(left, 1 << 18)))
    time.sleep(PAUSE)
print('{"received": true}', flush=True)
time.sleep(0.2)
print('{"error": "model", "message": "all of it came"}', flush=True)
"""


def test_the_time_of_sending_is_not_the_time_of_measuring() -> None:
    plan = dataclasses.replace(QUICK, timeout_s=0.5)
    script = SLOW_READER.replace("PAUSE", "0.2")  # sends for more than a second
    with (
        AgentDevice("board", (sys.executable, "-S", "-c", script)) as device,
        pytest.raises(MeasurementError, match="all of it came"),
    ):
        measure(device, Payload(DIGEST, b"m" * (6 << 18)), plan)


@pytest.mark.parametrize(
    ("pause", "limits"),
    [("600", {"STALL_S": 0.3}), ("0.1", {"STALL_S": 0.2, "SLOWEST_BYTES_PER_S": 1 << 24})],
)
def test_a_connection_that_is_too_slow_is_named(
    monkeypatch: pytest.MonkeyPatch, pause: str, limits: dict[str, float]
) -> None:
    """One stalls, the other takes a little at a time for too long."""
    for name, value in limits.items():
        monkeypatch.setattr(channel_module, name, value)
    script = SLOW_READER.replace("PAUSE", pause)
    with (
        AgentDevice("board", (sys.executable, "-S", "-c", script)) as device,
        pytest.raises(MeasurementError, match=r"sending took too long: \d\.\d of 4\.\d MB in"),
    ):
        measure(device, Payload(DIGEST, b"m" * (1 << 22)))


REST = '"series": {}, "warmup_runs": 1, "stationary": true, "switches": null'
SHARED = '"fingerprint": {}, "conditions": [], "heating": []'


def answering(text: str) -> str:
    return f"{GREETS}\nprint({text!r}, flush=True)\nstdin.read()"


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        (
            "import sys; sys.exit('no space left')",
            DeviceError,
            "sh ended with code 1: no space left; the agent did not start",
        ),
        (
            "print('Welcome to the board!')",
            DeviceError,
            "code 0: Welcome to the board!; the agent",
        ),
        ("print('{}')", DeviceError, "code 0: {}; the agent did not start"),
        ('print(\'{"agent": "1"}\')', DeviceError, "is not the greeting of our agent"),
        ("print('{\"agent\": ' + '[' * 100000)", DeviceError, "which is no answer"),
        ("print('x' * (1 << 25))", DeviceError, "writes without end"),
        (f"{GREETS}\nos._exit(3)", MeasurementError, "ended with code 3"),
        (f"{GREETS}\nos.kill(os.getpid(), 9)", MeasurementError, "ended by signal 9"),
        (f"{GREETS}\nraise SystemError('bus')", MeasurementError, "SystemError: bus"),
        (f"{GREETS}\nos.close(1); time.sleep(60)", MeasurementError, "closed its stdout"),
        (f"{GREETS}\nos.write(2, b'e' * 10**6)\nos._exit(3)", MeasurementError, "code 3: eeee"),
        (answering("[1, 2]"), MeasurementError, "no answer"),
        (answering("Segmentation fault"), MeasurementError, "'Segmentation fault'"),
        (answering('{"networks": [{"digest": "00"}]}'), MeasurementError, "not a measurement"),
        (answering('{"networks": []}'), MeasurementError, "not a measurement"),
        (answering("{}"), MeasurementError, "not a measurement"),
    ],
)
def test_failing_agents(noted: Noted, script: str, error: type[Exception], message: str) -> None:
    with noted((sys.executable, "-S", "-c", script)) as device:
        with pytest.raises(error, match=f"board: .*{message}"):
            measure(device, A_MODEL)
        assert error is MeasurementError or not any(map(_exists, noted.processes()))


@pytest.mark.parametrize(
    "runs",
    [
        '"wall_ns": [5, 0], "cpu_ns": [5, 5], "rounds": [0, 0]',
        '"wall_ns": [5, -5], "cpu_ns": [5, 5], "rounds": [0, 0]',
        '"wall_ns": [5, 5], "cpu_ns": [5, -5], "rounds": [0, 0]',
        '"wall_ns": [], "cpu_ns": [], "rounds": []',
        '"wall_ns": [5, 5], "cpu_ns": [5], "rounds": [0, 0]',
        '"wall_ns": [5, 5], "cpu_ns": [5, 5], "rounds": [0]',
        '"wall_ns": 5, "cpu_ns": 5, "rounds": 5',
        '"cpu_ns": [5], "rounds": [0]',
    ],
)
def test_answers_that_are_no_measurement(runs: str) -> None:
    network = f'{{"digest": "{A_MODEL.digest}", {runs}, {REST}}}'
    script = answering(f'{{"networks": [{network}], {SHARED}}}')
    with (
        AgentDevice("board", (sys.executable, "-S", "-c", script)) as device,
        pytest.raises(MeasurementError, match=r"board: .*not a measurement"),
    ):
        measure(device, A_MODEL)


@pytest.mark.parametrize(
    "then",
    [
        "time.sleep(600)",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "import subprocess; subprocess.run(['sleep', '600'])",
    ],
)
def test_a_hanging_agent_is_killed_with_all_it_started(noted: Noted, then: str) -> None:
    plan = dataclasses.replace(QUICK, timeout_s=0.5)
    with noted((sys.executable, "-S", "-c", f"{GREETS}\n{then}")) as device:
        began = time.monotonic()
        with pytest.raises(
            MeasurementError, match=r"no answer within the time limit, 0\.5 s after"
        ):
            measure(device, A_MODEL, plan)
        assert time.monotonic() - began < 10
        (group,) = noted.processes()
        while _running("pgid", group):  # a process may take a moment to die of its signal
            assert time.monotonic() - began < 20


def test_an_agent_that_does_not_read_cannot_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "START_TIMEOUT_S", 0.3)
    silent = AgentDevice("board", (sys.executable, "-S", "-c", "import time; time.sleep(600)"))
    with (
        silent as device,
        pytest.raises(
            DeviceError, match=r"no greeting of the agent within 0\.3 s; the agent did not"
        ),
    ):
        measure(device, Payload(DIGEST, b"m" * (1 << 22)))


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
