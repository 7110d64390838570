"""The measuring agent: source text that runs on any machine with python3 and a runtime.

The text is piped, after `estimator.py`, `host_facts.py`, `timed_runs.py` and `node_times.py`, to
`python3 -u -c BOOTSTRAP`. A local child, `ssh`, `adb` and `docker` are therefore one code path,
and a device needs only numpy and onnxruntime. Hence its rules: Python 3.8, the standard library
and numpy, no import of nas_sv2. The one exception is the runtime `torch`: only nas_sv2 can build
its networks, so the device needs nas-sv2 and torch.

Stdin begins with the texts: their count in one line, then for each its length in one line and the
text itself. After that the protocol is:

- The agent greets with `{"agent": VERSION}`.
- A request is a line of JSON, `{"op": "fingerprint" | "outputs" | "measure" | "profile",
  "plan": {...}, "networks": [{"digest": SHA-256, "bytes": n, "keep": bool}, ...]}`.
- After a request come the bytes of each network: an ONNX model, or for torch an architecture as
  JSON. The agent keeps a network sent with `keep`; later requests may name it with 0 bytes.
- When the agent has the networks of a request, it says so with `{"received": true}`.
- An answer is a line of JSON; each measurement names the digest of its network. A failure is
  `{"error": KIND, "message": ...}`: the `device` lacks something, the network (`model`) cannot
  run, or this program (`agent`) has a fault.

The agent ends when stdin ends. Output of a runtime goes to stderr.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import io
import json
import os
import platform
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO

if __name__ != "__main__":  # piped, these names are here already
    from nas_sv2.latency.agent.host_facts import affinity, machine_facts, usable_cores
    from nas_sv2.latency.agent.node_times import node_times
    from nas_sv2.latency.agent.timed_runs import Network, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

VERSION = "2"
_RUN_TEXTS = (
    "sys.path[:]=[p for p in sys.path if p];i=sys.stdin.buffer;"
    "g={'__name__':'__main__'};"
    "[exec(compile(i.read(int(i.readline())),'nas_sv2_agent.py','exec'),g)"
    " for _ in range(int(i.readline()))]"
)
BOOTSTRAP = (  # the only text that an old Python sees, so Python 2 must be able to read it
    "import sys;sys.version_info>=(3,8)or sys.exit('this is Python %d.%d, but 3.8 or later is"
    " needed: install one there and give its path as python'%sys.version_info[:2]);"
    f"exec({_RUN_TEXTS!r})"
)
LEAST_ONNXRUNTIME = (1, 12)
"""Opset 17, which our networks are written in, came with 1.12."""
LEAST_FOR_BATCHES = (1, 14)
"""1.12 and 1.13 compute 1×1 convolutions of several images wrongly on a CPU: outputs were off by
26 to 75 % (onnxruntime's issue 13515)."""


class Refusal(Exception):
    """A request that the agent cannot carry out; `kind` is `device` or `model`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def fingerprint(plan: Json) -> Json:
    """Return the facts that comparable measurements share, as a flat dictionary."""
    _pin(plan)
    return {
        "agent": VERSION,
        **machine_facts(),
        "numpy": _needed("numpy").__version__,
        "runtime": plan["runtime"],
        "threads": plan["threads"],
        "precision": plan["precision"],
        **_runtime_facts(plan),
    }


def _runtime_facts(plan: Json) -> Json:
    if plan["runtime"] == "torch":
        _needed("torch")
        torch_run = _torch_run()
        missing = torch_run.missing(plan["processor"])
        if missing:
            raise Refusal("device", missing)
        facts: Json = torch_run.facts(plan["processor"])
        return facts
    onnxruntime = _onnxruntime(plan)
    facts = {"runtime_version": onnxruntime.__version__, "provider": _provider(plan)}
    if hasattr(onnxruntime, "get_build_info"):  # since 1.15
        facts["runtime_build"] = onnxruntime.get_build_info()
    return facts


def _onnxruntime(plan: Json) -> Any:
    """Import onnxruntime; refuse one that cannot run our networks, or runs them wrongly."""
    onnxruntime, provider = _needed("onnxruntime"), _provider(plan)
    version = onnxruntime.__version__
    batches = plan["batch"] > 1 and plan["processor"] == "cpu"
    least = LEAST_FOR_BATCHES if batches else LEAST_ONNXRUNTIME
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < least:
        wanted = ".".join(map(str, least))
        use = f"for batch {plan['batch']}" if batches else ""
        raise Refusal(
            "device",
            f"onnxruntime {version} is too old {use}".strip() + f", {wanted} is the least; "
            f"install it there: {sys.executable} -m pip install 'onnxruntime>={wanted}'",
        )
    if provider not in onnxruntime.get_available_providers():
        raise Refusal("device", f"onnxruntime here has no {provider}; install onnxruntime-gpu")
    return onnxruntime


def _provider(plan: Json) -> str:
    return "CUDAExecutionProvider" if plan["processor"] == "cuda" else "CPUExecutionProvider"


def _torch_run() -> Any:
    """Import the one module of nas_sv2 that the agent uses, for torch alone."""
    _needed("nas_sv2")
    return importlib.import_module("nas_sv2.latency.agent.torch_run")


def _needed(module: str) -> Any:
    kept, stderr = io.StringIO(), sys.stderr
    sys.stderr = kept  # an extension for another numpy prints its reason, and raises none
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a package that is broken may raise anything
        said = " ".join(kept.getvalue().split()).partition(". ")[0]
        reason = str(error) or said or repr(error)
        pip = f"{sys.executable} -m pip install"
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            advice = f"install it there: {pip} {module}"
        elif module != "numpy" and "numpy" in reason.lower():
            advice = f"it was built for another numpy; there: {pip} 'numpy<2', or a newer {module}"
        else:
            advice = f"it is there but cannot be loaded; {pip} --force-reinstall {module}"
        raise Refusal("device", f"cannot import {module} ({reason}); {advice}") from error
    finally:
        sys.stderr = stderr
        stderr.write(kept.getvalue())
    if not hasattr(found, "__version__"):  # a folder of that name, such as a clone at home
        place = getattr(found, "__file__", None) or ", ".join(getattr(found, "__path__", ()))
        raise Refusal("device", f"{module} there is no package: {place} stands for it; rename it")
    return found


ALL_CORES = affinity()


def _pin(plan: Json) -> None:
    """Pin this process to the plan's cores, or to all cores that it was started with."""
    cores = plan["affinity"]
    if ALL_CORES is None:
        if cores:
            raise Refusal("device", f"{sys.platform} cannot pin threads; leave affinity out")
    elif not set(cores or ()) <= set(ALL_CORES):
        raise Refusal("device", f"plan.affinity {cores}: the cores here are {ALL_CORES}")
    elif affinity() != (cores or ALL_CORES):  # some systems forbid even what changes nothing
        os.sched_setaffinity(0, cores or ALL_CORES)
    usable, why = usable_cores()
    if plan["threads"] > usable:
        raise Refusal(
            "device", f"plan.threads {plan['threads']}: at most {usable} can run at once ({why})"
        )


def outputs(bodies: list[bytes], plan: Json) -> Json:
    """Return the network's outputs, to compare them with those of another runtime."""
    _pin(plan)
    return {"outputs": _loaded(bodies[0], plan).outputs}


def measure(bodies: list[bytes], plan: Json) -> Json:
    """Time the networks in alternation; give raw times in ns in the order of the runs."""
    facts = fingerprint(plan)
    answer = timed([functools.partial(_load, body, plan) for body in bodies], plan)
    for body, said in zip(bodies, answer["networks"]):  # noqa: B905  Python 3.8 has no strict
        said["digest"] = hashlib.sha256(body).hexdigest()
    answer["fingerprint"] = facts
    return answer


def profile(bodies: list[bytes], plan: Json) -> Json:
    """Time each node of the model."""
    _pin(plan)
    if plan["runtime"] == "torch":
        _runtime_facts(plan)  # refuses if torch or the GPU is missing
        nodes = _torch_run().node_times(bodies[0], plan)
        if not any(us for _, _, us in nodes):
            advice = "allow CUPTI to count there, or profile on another device"
            raise Refusal("device", f"torch's profiler sees no kernels of the GPU; {advice}")
        return {"nodes": nodes}
    if plan["processor"] != "cpu":
        raise Refusal("device", "onnxruntime gives times of nodes on a CPU only; use torch")

    def profiled(prefix: str) -> tuple[Any, Callable[[], object]]:
        session, feed = _onnx_session(bodies[0], plan, profile_to=prefix)
        return session, lambda: session.run(None, feed)

    try:
        return {"nodes": node_times(profiled)}
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else "it was cut off"  # and is no JSON
        raise Refusal(
            "device",
            f"onnxruntime's profile cannot be written there ({reason}); free some disk, or set "
            "TMPDIR there to a folder that can be written",
        ) from error


def _load(body: bytes, plan: Json) -> Network:
    network = _loaded(body, plan)
    if not all(abs(number) < float("inf") for number in network.outputs):
        raise Refusal("model", "the network gives numbers that are not finite")
    return network


def _loaded(body: bytes, plan: Json) -> Network:
    if plan["runtime"] == "torch":
        return Network(*_torch_run().load(body, plan))
    return _onnx_network(body, plan)


def _onnx_network(body: bytes, plan: Json) -> Network:
    session, feed = _onnx_session(body, plan)
    with _runtime_errors():
        arrays = session.run(None, feed)
        run = _bound(session, feed) if plan["processor"] == "cuda" else None
    numbers = [float(number) for array in arrays for number in array.ravel()]
    return Network(run or (lambda: session.run(None, feed)), numbers, lambda numbers: {})


def _onnx_session(body: bytes, plan: Json, profile_to: str = "") -> tuple[Any, Json]:
    """Open a session with a random input; profile into files of a prefix, if one is given."""
    numpy, onnxruntime = _needed("numpy"), _onnxruntime(plan)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Idle workers that spin would eat into the next run's clock and into other programs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Denormal numbers, which some weights make of activations, take a hundred times as long.
    # onnxruntime heeds the first session of a process, and then changes the process as a whole.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # Else bytes that are an ONNX model may be run as another one, in onnxruntime's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 3
    if profile_to:
        options.enable_profiling, options.profile_file_prefix = True, profile_to
    with _runtime_errors():
        session = onnxruntime.InferenceSession(body, options, providers=[_provider(plan)])
        generator = numpy.random.default_rng(plan["seed"])
        feed = {
            value.name: _random_input(numpy, generator, value, plan["batch"])
            for value in session.get_inputs()
        }
    return session, feed


@contextlib.contextmanager
def _runtime_errors() -> Iterator[None]:
    try:
        yield
    except (Refusal, MemoryError, OSError):
        raise
    except Exception as error:  # onnxruntime raises many kinds, all about the model
        raise Refusal("model", "onnxruntime: " + " ".join(str(error).split())) from error


def _bound(session: Any, feed: Json) -> Callable[[], object]:
    """Return a run that keeps input and output on the GPU, so that no copies are timed."""
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    for value in session.get_outputs():
        binding.bind_output(value.name, "cuda")

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    run()
    return run


def _random_input(numpy: Any, generator: Any, value: Any, batch: int) -> Any:
    shape = [size if isinstance(size, int) else batch for size in value.shape]
    if not shape or shape[0] != batch:
        text = f"input {value.name} has shape {value.shape}, but the plan says batch {batch}"
        raise Refusal("model", text)
    kinds = {"tensor(float)": "float32", "tensor(float16)": "float16"}
    if value.type not in kinds:
        raise Refusal("model", f"input {value.name} is {value.type}, not float")
    return generator.standard_normal(shape).astype(kinds[value.type])


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until stdin ends."""
    _send(answers, {"agent": VERSION})
    kept: dict[str, bytes] = {}
    while True:
        line = requests.readline()
        if not line:
            return
        request = json.loads(line)
        bodies = []
        for network in request["networks"]:
            body = requests.read(network["bytes"]) or kept[network["digest"]]
            if network["keep"]:
                kept[network["digest"]] = body
            bodies.append(body)
        _send(answers, {"received": True})
        _send(answers, _answer(request["op"], bodies, request["plan"]))


def _answer(operation: str, bodies: list[bytes], plan: Json) -> Json:
    """Return the answer to a request, or its failure."""
    answers = {"outputs": outputs, "measure": measure, "profile": profile}
    try:
        if operation == "fingerprint":
            return {"fingerprint": fingerprint(plan)}
        return answers[operation](bodies, plan)
    except Refusal as refusal:
        return {"error": refusal.kind, "message": str(refusal)}
    except OSError as error:
        return {"error": "device", "message": f"the system there refused: {error}"}
    except MemoryError:
        return {"error": "model", "message": "the device has not enough memory for the network"}
    except Exception as error:  # ours: it would come again, so it must not look like a lost agent
        return {"error": "agent", "message": _fault(error)}


def _fault(error: Exception) -> str:
    """Describe a fault of this program by its place, and the versions that it met."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    runtimes = (sys.modules.get(name) for name in ("numpy", "onnxruntime", "torch"))
    versions = [f"{m.__name__} {getattr(m, '__version__', '?')}" for m in runtimes if m]
    return (
        f"{type(error).__name__}: {error} (in {place.name}, line {place.lineno}; "
        f"{', '.join([f'Python {platform.python_version()}', *versions])})"
    )


def _send(answers: BinaryIO, answer: Json) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def main() -> None:
    """Serve on stdout, and send the output of runtimes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
