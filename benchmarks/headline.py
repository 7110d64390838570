"""The figures that the README states, measured in one run on this machine.

python benchmarks/headline.py
"""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run the benchmarks one after the other, so that none disturbs another."""
    for name in ("turnaround", "shuffle_free", "contention", "training_throughput"):
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")], check=True)


if __name__ == "__main__":
    main()
