"""Whether a later session gives the same figure: separate `nas-sv2 measure` commands in turn.

The coefficient of variation of the milliseconds shows how restless the machine is, that of the
ratio to the reference network what is left of it. Each session is a process of its own, with a
database of its own, so nothing is remembered.

    python benchmarks/repeatability.py [SESSIONS]
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

NETWORKS = ("shufflenet_v2_x1_0", "shufflenet_v2_x0_5", "shufflenet_v2_x2_0")
SESSIONS = 10


def main() -> None:
    """Print both coefficients of variation for each network."""
    sessions = int(sys.argv[1]) if sys.argv[1:] else SESSIONS
    print(f"{sessions} sessions of `nas-sv2 measure NETWORK --target cpu`, in turn")
    print(f"{'network':20} {'median ms':>10} {'CV of ms':>9} {'ratio':>7} {'CV of ratio':>12}")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in NETWORKS}
    for _ in range(sessions):
        for name in NETWORKS:
            found[name].append(_measured(name))
    for name, answers in found.items():
        times = [answer["ms"] for answer in answers]
        ratios = [answer["ratio"] for answer in answers]
        print(
            f"{name:20} {statistics.median(times):10.3f} {_variation(times):9.2%} "
            f"{statistics.median(ratios):7.4f} {_variation(ratios):12.2%}"
        )


def _measured(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{Path(folder) / 'own.db'}"
        command = [sys.executable, "-m", "nas_sv2", "measure", name, "--target", "cpu", "--json"]
        said = subprocess.run(
            [*command, "--storage", storage], capture_output=True, text=True, check=True
        )
    answer: dict[str, float] = json.loads(said.stdout)[0]
    return answer


def _variation(values: list[float]) -> float:
    return statistics.stdev(values) / statistics.mean(values)


if __name__ == "__main__":
    main()
