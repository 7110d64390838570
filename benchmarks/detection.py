"""V2* against V2 as backbones of a detector, at equal FLOPs: does the larger field help few data?

The plain V2 has the width by which its trunk counts what that of V2* 0.5x does. Both are trained
on the same images by the same recipe, seed by seed. A finished training is not repeated, and one
that was killed goes on.

    python benchmarks/detection.py --out detection --seeds 3

It prints the mmAP of each training, and the mean difference of the pairs with its 95 % interval
(Student's t).
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from nas_sv2.api.detection import DetectorPlan, train_detector
from nas_sv2.database.database import Database
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.trunk import trunk_of
from nas_sv2.studies.package.detector_package import trained_metrics
from nas_sv2.studies.package.folder import SUMS

STAR = "shufflenet_v2_star_x0_5"
WIDTHS = range(50, 70)
"""Widths of V2 that are tried, in hundredths."""


def main() -> None:
    """Train what is missing and print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--data", default="drawn")
    asked.add_argument("--head", default="light-head")
    asked.add_argument("--height", type=int, default=192)
    asked.add_argument("--width", type=int, default=256)
    asked.add_argument("--recipe", default="detector")
    options = asked.parse_args()
    plain = equal_v2(options.height, options.width)
    found = {name: np.zeros(options.seeds) for name in (STAR, plain)}
    with Database.open(f"sqlite:///{options.out}.db") as db:
        for seed in range(options.seeds):
            for name in found:
                found[name][seed] = mmap_of(name, seed, options, db)
    print(
        f"\n| backbone | MFLOPs | {' | '.join(f'seed {n}' for n in range(options.seeds))} | mean |"
    )
    print("|---" * (options.seeds + 3) + "|")
    for name, values in found.items():
        mflops = flops_of(name, options.height, options.width) / 1e6
        cells = " | ".join(f"{value:.1f}" for value in values)
        print(f"| `{name}` | {mflops:.1f} | {cells} | {values.mean():.1f} |")
    difference = found[STAR] - found[plain]
    print(f"\nV2* - V2: {difference.mean():+.2f} points{interval(difference)}")


def equal_v2(height: int, width: int) -> str:
    """The V2 whose trunk comes nearest to that of V2* in multiply-adds."""
    wanted = flops_of(STAR, height, width)
    names = [f"shufflenet_v2_x0_{hundredths}" for hundredths in WIDTHS]
    return min(names, key=lambda name: abs(flops_of(name, height, width) - wanted))


def flops_of(name: str, height: int, width: int) -> int:
    """Multiply-adds of the trunk of a network."""
    return cost_of(trunk_of(published_network(name), height, width).graph).flops


def mmap_of(name: str, seed: int, options: argparse.Namespace, db: Database) -> float:
    """The mmAP of a training in %, trained now unless it is finished."""
    folder = options.out / f"{name}-{seed}"
    if not (folder / SUMS).exists():
        plan = DetectorPlan(
            options.data,
            options.head,
            options.height,
            options.width,
            options.recipe,
            seed,
            device="cpu",
        )
        train_detector(name, folder, plan, storage=db, notify=print)
    mmap = trained_metrics(folder).mmap_percent
    print(f"{name}, seed {seed}: mmAP {mmap:.1f}", flush=True)
    return mmap


def interval(difference: np.ndarray) -> str:
    """The 95 % interval of a mean, in words; nothing for a single seed."""
    if len(difference) < 2:
        return ""
    error = stats.sem(difference) * stats.t.ppf(0.975, len(difference) - 1)
    return f", 95 % interval {difference.mean() - error:+.2f} to {difference.mean() + error:+.2f}"


if __name__ == "__main__":
    main()
