"""A device that answers nonsense: the program that a `command` device starts.

The first argument is the operation whose answer is nonsense, the second a Python expression for
the change: `a` is the good answer, `n` its first network, `facts` the facts of the device. Bytes
and texts are sent as they are. It uses the standard library only and starts in 20 ms.
"""

import json
import math
import sys
from typing import Any

NAN, INF = math.nan, math.inf
RUNS = 30
operation, change = sys.argv[1:3]
requests, answers = sys.stdin.buffer, sys.stdout.buffer


def say(answer: object) -> None:
    """Send an answer."""
    text = answer.encode() if isinstance(answer, str) else answer
    answers.write(text if isinstance(text, bytes) else json.dumps(text).encode())
    answers.write(b"\n")
    answers.flush()


def changed(answer: Any) -> object:
    """Return the answer with the nonsense."""
    names = {"a": answer, "n": (answer.get("networks") or [{}])[0], "facts": facts}
    return eval(change, {**globals(), **names})


facts = {
    "agent": "2",
    "cpu": "EvilCPU",
    "affinity": [0],
    "runtime": "onnxruntime",
    "runtime_version": "1",
    "threads": 1,
    "precision": "fp32",
}


def network(digest: str) -> dict[str, object]:
    """Return good runs."""
    return {
        "digest": digest,
        "wall_ns": [1_000_000 + run for run in range(RUNS)],
        "cpu_ns": [990_000] * RUNS,
        "rounds": [run // 5 for run in range(RUNS)],
        "switches": [0] * RUNS,
        "warmup_runs": 5,
        "stationary": True,
        "series": {},
    }


for _ in range(int(requests.readline())):
    requests.read(int(requests.readline()))
greeting = {"agent": "2"}
say(changed(greeting) if operation == "greet" else greeting)
for line in requests:
    request = json.loads(line)
    for each in request["networks"]:
        requests.read(each["bytes"])
    good: Any = {
        "fingerprint": {"fingerprint": facts},
        "profile": {"nodes": [["a", "Conv", 1.0]]},
        "outputs": {"outputs": [1.0, 2.0]},
        "measure": {
            "networks": [network(each["digest"]) for each in request["networks"]],
            "conditions": [],
            "heating": [],
            "fingerprint": facts,
        },
    }[request["op"]]
    say(changed(good) if operation == request["op"] else good)
