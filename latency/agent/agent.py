"""The measuring agent: source text that runs on any machine with python3 and a runtime.

The text is piped, after the other texts of `devices/device.py`, to `python3 -u -c BOOTSTRAP`. A
local child, `ssh`, `adb` and `docker` are therefore one code path, and a device needs only numpy
and the plan's runtime. Hence its rules: Python 3.8, the standard library and numpy, no import of
nas_sv2. The one exception is the runtime `torch`: only nas_sv2 can build
its networks, so the device needs nas-sv2 and torch.

Stdin begins with the texts: their count in one line, then for each its length in one line and the
text itself. After that the protocol is:

- The agent greets with `{"agent": VERSION}`.
- A request is a line of JSON, `{"op": "fingerprint" | "outputs" | "measure" | "profile",
  "plan": {...}, "networks": [{"digest": SHA-256, "bytes": n, "keep": bool}, ...]}`.
- After a request come the bytes of each network: an ONNX model, for LiteRT a `.tflite` file, or
  for torch an architecture as JSON. For ncnn they are the length of the `.param` in a line, the
  `.param` and the `.bin`. The agent keeps a network sent with `keep`; later requests may name it
  with 0 bytes.
- When the agent has the networks of a request, it says so with `{"received": true}`.
- An answer is a line of JSON; each measurement names the digest of its network. A failure is
  `{"error": KIND, "message": ...}`: the `device` lacks something or its `runtime` is missing, the
  network (`model`) cannot run, or this program (`agent`) has a fault.

The agent ends when stdin ends. Output of a runtime goes to stderr.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import platform
import sys
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO

if __name__ != "__main__":  # piped, these names are here already
    from nas_sv2.latency.agent.host_facts import affinity, machine_facts, usable_cores
    from nas_sv2.latency.agent.litert_run import LiteRt
    from nas_sv2.latency.agent.ncnn_run import Ncnn
    from nas_sv2.latency.agent.needed import Refusal, needed
    from nas_sv2.latency.agent.onnx_run import OnnxRuntime
    from nas_sv2.latency.agent.timed_runs import Network, timed

if TYPE_CHECKING:
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


def fingerprint(plan: Json) -> Json:
    """Return the facts that comparable measurements share, as a flat dictionary."""
    _pin(plan)
    return {
        "agent": VERSION,
        **machine_facts(),
        "numpy": needed("numpy").__version__,
        "runtime": plan["runtime"],
        "threads": plan["threads"],
        "precision": plan["precision"],
        **RUNTIMES[plan["runtime"]].facts(plan),
    }


class Torch:
    """torch, by the one module of nas_sv2 that the agent uses."""

    module = "torch"

    @staticmethod
    def facts(plan: Json) -> Json:
        """Return the part of the fingerprint that torch knows."""
        needed("torch")
        torch_run = _torch_run()
        missing = torch_run.missing(plan["processor"])
        if missing:
            raise Refusal("device", missing)
        facts: Json = torch_run.facts(plan["processor"])
        return facts

    @staticmethod
    def load(body: bytes, plan: Json) -> Network:
        """Build a network, with random images as input."""
        return Network(*_torch_run().load(body, plan))

    @staticmethod
    def nodes(body: bytes, plan: Json) -> list[list[Any]]:
        """Time each operator of a network."""
        Torch.facts(plan)  # refuses if torch or the GPU is missing
        nodes: list[list[Any]] = _torch_run().node_times(body, plan)
        if not any(us for _, _, us in nodes):
            advice = "allow CUPTI to count there, or profile on another device"
            raise Refusal("device", f"torch's profiler sees no kernels of the GPU; {advice}")
        return nodes


def _torch_run() -> Any:
    needed("nas_sv2")
    return importlib.import_module("nas_sv2.latency.agent.torch_run")


RUNTIMES: dict[str, Any] = {
    "onnxruntime": OnnxRuntime,
    "litert": LiteRt,
    "ncnn": Ncnn,
    "torch": Torch,
}
"""The runtimes by the plan's names: each has facts, loads a network and times its nodes."""
ALL_CORES = affinity()


def _pin(plan: Json) -> None:
    """Pin this process to the plan's cores, or to all cores that it was started with."""
    cores = plan["affinity"]
    if ALL_CORES is None:
        if cores:
            raise Refusal("device", f"{sys.platform} cannot pin threads; leave affinity out")
    elif not set(cores or ()) <= set(ALL_CORES):
        raise Refusal("device", f"affinity {cores}: the cores here are {ALL_CORES}")
    elif affinity() != (cores or ALL_CORES):  # some systems forbid even what changes nothing
        os.sched_setaffinity(0, cores or ALL_CORES)
    usable, why = usable_cores()
    if plan["threads"] > usable:
        allowed = f"at most {usable} can run at once ({why})"
        raise Refusal("device", f"threads {plan['threads']}: {allowed}")


def outputs(bodies: list[bytes], plan: Json) -> Json:
    """Return the network's outputs, to compare them with those of another runtime."""
    _pin(plan)
    return {"outputs": list(map(float, _loaded(bodies[0], plan).outputs))}


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
    return {"nodes": RUNTIMES[plan["runtime"]].nodes(bodies[0], plan)}


def _load(body: bytes, plan: Json) -> Network:
    network = _loaded(body, plan)
    if not needed("numpy").isfinite(network.outputs).all():
        raise Refusal("model", "the network gives numbers that are not finite")
    return network


def _loaded(body: bytes, plan: Json) -> Network:
    network: Network = RUNTIMES[plan["runtime"]].load(body, plan)
    return network


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
    names = ("numpy", *(runtime.module for runtime in RUNTIMES.values()))
    runtimes = (sys.modules.get(name) for name in names)
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
    sys.stderr.flush()
    os._exit(0)  # nothing needs cleaning up, and freeing the runtime would take 0.1 s


if __name__ == "__main__":
    main()
