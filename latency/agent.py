"""The measuring agent: a text that runs wherever a python3 with a runtime is.

It is piped, after `estimator.py`, to `python3 -u -c BOOTSTRAP`, so a local child, `ssh`, `adb` and
`docker` are one path and nothing is installed on a device but numpy and onnxruntime. Hence its
rules: Python 3.8, the standard library and numpy, no import of nas_sv2. The one exception is the
runtime `torch`, whose networks only nas_sv2 can build: it needs nas-sv2 and torch where it runs.

On stdin and stdout, after the texts (how many in a line; for each its length in a line, and it):

- the agent greets: `{"agent": VERSION}`;
- a request is a line of JSON, `{"op": "fingerprint" | "outputs" | "measure", "plan": {...},
  "bytes": n}`, and n bytes: an ONNX model, or for torch an architecture as JSON;
- an answer is a line of JSON; `{"error": "device" | "model", "message": ...}` where it failed.
  A measurement names the SHA-256 of the bytes it is of.

End of stdin ends the agent. Whatever a runtime prints goes to stderr.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import platform
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, BinaryIO

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

if __name__ != "__main__":  # piped, the names of `estimator.py` are here already
    from nas_sv2.latency.estimator import chosen, median_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, Any]
    # How to run it once, its outputs, and what else was timed in the last n runs, in ms by name.
    Network = tuple[Callable[[], object], list[float], Callable[[int], Json]]

VERSION = "1"
BOOTSTRAP = (
    "import sys;sys.path[:]=[p for p in sys.path if p];i=sys.stdin.buffer;"
    "g={'__name__':'__main__'};"
    "[exec(compile(i.read(int(i.readline())),'nas_sv2_agent.py','exec'),g)"
    " for _ in range(int(i.readline()))]"
)


class Refusal(Exception):
    """What the agent answers instead: `kind` is `device` or `model`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def fingerprint(plan: Json) -> Json:
    """What must be equal for two measurements to be comparable, as flat facts."""
    facts = {
        "agent": VERSION,
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "affinity": _affinity(),
        "system": platform.system() + " " + platform.release(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "max_khz": _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"),
        "python": platform.python_version(),
        "numpy": _needed("numpy").__version__,
        "runtime": plan["runtime"],
        "threads": plan["threads"],
    }
    facts.update(_runtime_facts(plan))
    return {name: value for name, value in facts.items() if value is not None}


def _runtime_facts(plan: Json) -> Json:
    if plan["runtime"] == "torch":
        _needed("torch")
        torch_run = _torch_run()
        missing = torch_run.missing(plan["torch_device"])
        if missing:
            raise Refusal("device", missing)
        facts: Json = torch_run.facts(plan["torch_device"])
        return facts
    version = _needed("onnxruntime").__version__
    return {"runtime_version": version, "provider": "CPUExecutionProvider"}


def _torch_run() -> Any:
    """The only import of nas_sv2, for the only runtime that cannot do without."""
    _needed("nas_sv2")
    return importlib.import_module("nas_sv2.latency.torch_run")


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        advice = f"install it there: {sys.executable} -m pip install {module}"
        raise Refusal("device", f"cannot import {module} ({error}); {advice}") from error


def _cpu_name() -> str:
    """The model name; on ARM, where Linux gives none, the board and the kinds of core."""
    names: list[str] = []
    implementer = ""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        field, _, value = (part.strip() for part in line.partition(":"))
        if field == "model name":
            return value
        if field == "CPU implementer":
            implementer = value
        if field == "CPU part":
            names.append(f"{implementer}/{value}")
    board = (_read("/proc/device-tree/model") or "").strip("\0")
    kinds = " + ".join(dict.fromkeys(names))
    return " ".join(filter(None, (board, kinds))) or platform.processor() or platform.machine()


def _affinity() -> list[int] | None:
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def outputs(body: bytes, plan: Json) -> Json:
    """What the network of `body` gives, to check it against another runtime."""
    return {"outputs": _load(body, plan)[1]}


def measure(body: bytes, plan: Json) -> Json:
    """Run the network of `body` as the plan says; raw times in ns, in the order of the runs."""
    facts = fingerprint(plan)
    run, numbers, more_series = _load(body, plan)
    if not all(abs(number) < float("inf") for number in numbers):
        raise Refusal("model", "the network gives numbers that are not finite")
    answer = _timed(run, plan)
    answer["series"] = more_series(len(answer["wall_ns"]))
    answer["fingerprint"] = facts
    answer["digest"] = hashlib.sha256(body).hexdigest()
    return answer


def _load(body: bytes, plan: Json) -> Network:
    if plan["runtime"] == "torch":
        network: Network = _torch_run().load(body, plan)
        return network
    return _onnx_network(body, plan)


def _onnx_network(body: bytes, plan: Json) -> Network:
    numpy, onnxruntime = _needed("numpy"), _needed("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Idle workers that spin would eat into the next run's clock and into other programs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(body, options, providers=["CPUExecutionProvider"])
        generator = numpy.random.default_rng(plan["seed"])
        feed = {
            value.name: _random_input(numpy, generator, value, plan["batch"])
            for value in session.get_inputs()
        }
        arrays = session.run(None, feed)
    except Refusal:
        raise
    except Exception as error:  # onnxruntime raises many kinds, all about the model
        raise Refusal("model", "onnxruntime: " + " ".join(str(error).split())) from error
    numbers = [float(number) for array in arrays for number in array.ravel()]
    return lambda: session.run(None, feed), numbers, lambda runs: {}


def _random_input(numpy: Any, generator: Any, value: Any, batch: int) -> Any:
    shape = [size if isinstance(size, int) else batch for size in value.shape]
    if not shape or shape[0] != batch:
        text = f"input {value.name} has shape {value.shape}, but the plan says batch {batch}"
        raise Refusal("model", text)
    kinds = {"tensor(float)": "float32", "tensor(float16)": "float16"}
    if value.type not in kinds:
        raise Refusal("model", f"input {value.name} is {value.type}, not float")
    return generator.standard_normal(shape).astype(kinds[value.type])


def _timed(run: Callable[[], object], plan: Json) -> Json:
    gc.collect()
    gc.disable()
    try:
        warmup_runs, stationary = _warm_up(run, plan)
        wall: list[int] = []
        cpu: list[int] = []
        switches: list[int] = []
        runnable = _runnable()
        began = time.perf_counter()
        while not _enough(wall, cpu, switches, time.perf_counter() - began, plan):
            before = _switches()
            cpu_began, wall_began = time.thread_time_ns(), time.perf_counter_ns()
            run()
            wall_ended, cpu_ended = time.perf_counter_ns(), time.thread_time_ns()
            wall.append(wall_ended - wall_began)
            cpu.append(cpu_ended - cpu_began)
            switches.append(_switches() - before)
        runnable = min(runnable, _runnable())
    finally:
        gc.enable()
    return {
        "wall_ns": wall,
        "cpu_ns": cpu,
        "switches": switches if COUNTS_SWITCHES else None,
        "runnable": runnable or None,
        "warmup_runs": warmup_runs,
        "stationary": stationary,
    }


COUNTS_SWITCHES = hasattr(resource, "RUSAGE_THREAD")  # Linux


def _switches() -> int:
    """Involuntary context switches of this thread so far."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if COUNTS_SWITCHES else 0


def _runnable() -> int:
    """How many threads of the system want a processor now, this one included; 0 if unknown."""
    for line in (_read("/proc/stat") or "").splitlines():
        if line.startswith("procs_running"):
            return int(line.split()[1])
    return 0


def _warm_up(run: Callable[[], object], plan: Json) -> tuple[int, bool]:
    """Run windows until two in a row agree; how many runs, and whether they came to agree.

    By CPU time where it is the time of the network, so that other programs do not prolong it.
    """
    clock = time.thread_time_ns if plan["cpu_time_is_latency"] else time.perf_counter_ns
    ends = time.perf_counter() + plan["warmup_limit_s"]
    medians: list[float] = []
    while True:
        times = []
        for _ in range(plan["warmup_runs"]):
            began = clock()
            run()
            times.append(clock() - began)
        medians.append(statistics.median(times))
        runs = len(medians) * plan["warmup_runs"]
        if len(medians) > 1:
            if abs(medians[-1] - medians[-2]) <= plan["warmup_agreement"] * medians[-2]:
                return runs, True
            if time.perf_counter() > ends:
                return runs, False


CHECK_EVERY = 10  # runs: often enough to stop in time, seldom enough to leave the caches alone


def _enough(
    wall: list[int], cpu: list[int], switches: list[int], seconds: float, plan: Json
) -> bool:
    runs = len(wall)
    if runs < plan["min_runs"] or (runs < plan["max_runs"] and runs % CHECK_EVERY):
        return False
    if runs >= plan["max_runs"] or seconds >= plan["noisy_time_limit_s"]:
        return True
    known = switches if COUNTS_SWITCHES else None
    _, times = chosen(wall, cpu, known, plan["cpu_time_is_latency"])
    interval = median_interval(times)
    allowed = plan["noisy_width" if seconds >= plan["time_limit_s"] else "ci_width"]
    return interval is not None and (
        interval[1] - interval[0] <= allowed * statistics.median(times)
    )


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until stdin ends."""
    _send(answers, {"agent": VERSION})
    while True:
        line = requests.readline()
        if not line:
            return
        request = json.loads(line)
        body = requests.read(request["bytes"])
        try:
            answer = _answer(request["op"], body, request["plan"])
        except Refusal as refusal:
            answer = {"error": refusal.kind, "message": str(refusal)}
        _send(answers, answer)


def _answer(operation: str, body: bytes, plan: Json) -> Json:
    if operation == "fingerprint":
        return {"fingerprint": fingerprint(plan)}
    return {"outputs": outputs, "measure": measure}[operation](body, plan)


def _send(answers: BinaryIO, answer: Json) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def main() -> None:
    """Keep the protocol's stdout for itself: what a runtime prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
