"""A stand-in for the measuring agent on a board: what `board.py FOLDER TEXTS...` answers follows
from the bytes of the network.

It appends its process number to FOLDER/agents, and to FOLDER/measuring when it has taken a network
in and before it answers, 0.3 s later; then it appends to FOLDER/measured from when to when it
measured. While FOLDER/hangs exists it never answers; while FOLDER/gone exists it does not start.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

FACTS = {
    "cpu": "none",
    "runtime": "onnxruntime",
    "runtime_version": "1",
    "threads": 1,
    "precision": "fp32",
}


def note(file: Path, *facts: float) -> None:
    with file.open("a") as text:
        print(*facts, file=text)


def runs_of(body: bytes) -> dict[str, object]:
    ns = 1000 * len(body)
    times = {"wall_ns": [ns] * 10, "cpu_ns": [ns] * 10, "rounds": [0] * 5 + [1] * 5}
    rest: dict[str, object] = {
        "switches": None,
        "series": {},
        "warmup_runs": 3,
        "stationary": True,
    }
    return {"digest": hashlib.sha256(body).hexdigest(), **times, **rest}


def main(folder: Path) -> None:
    if (folder / "gone").exists():
        sys.exit("no route to host")
    stdin = sys.stdin.buffer
    for _ in range(int(stdin.readline())):
        stdin.read(int(stdin.readline()))
    note(folder / "agents", os.getpid())
    print(json.dumps({"agent": "2"}), flush=True)
    while line := stdin.readline():
        request = json.loads(line)
        bodies = [stdin.read(network["bytes"]) for network in request["networks"]]
        if request["op"] == "fingerprint":
            print(json.dumps({"fingerprint": FACTS}), flush=True)
            continue
        note(folder / "measuring", os.getpid())
        began = time.monotonic()
        time.sleep(0.3)
        while (folder / "hangs").exists():
            time.sleep(0.1)
        note(folder / "measured", began, time.monotonic())
        answer = {"networks": [runs_of(body) for body in bodies], "fingerprint": FACTS}
        print(json.dumps({**answer, "conditions": [], "heating": []}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
