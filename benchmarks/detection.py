"""V2* against V2 as backbones of a detector, at equal FLOPs: does the larger field help few data?

The V2* is `wide.yaml` of the how-to page on detectors. The plain V2 has its stages as much
wider as makes their multiply-adds come nearest. Both are trained on the drawn demo data by the
same recipe, seed by seed, with SSDLite at 96×128. A finished training is not repeated, and one
that was killed goes on.

    python benchmarks/detection.py --out detection --seeds 5

It prints the mmAP of each training on the validation images, and the mean difference of
the pairs with its 95 % interval (Student's t).
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

import nas_sv2 as nas
from nas_sv2.api.detection import DetectorPlan, train_detector
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.trunk import trunk_of
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.studies.package.detector_package import trained_metrics
from nas_sv2.studies.package.folder import SUMS

HEIGHT, WIDTH = 96, 128
STAGES = ((1, 32), (2, 64), (2, 128))
"""Depth and width of the stages of the V2*."""
WIDER = np.arange(1.0, 1.3, 0.01)
"""Factors of the widths of the plain V2 that are tried."""
RECIPE = "nas_sv2_recipe: 1\nepochs: {epochs}\nlearning_rate: 0.002\n"


def main() -> None:
    """Train what is missing and print the table."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--epochs", type=int, default=16)
    options = asked.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    recipe = options.out / "recipe.yaml"
    recipe.write_text(RECIPE.format(epochs=options.epochs))
    wide = backbone(1.0, wide_field=True)
    plain = min(
        (backbone(factor, wide_field=False) for factor in WIDER),
        key=lambda network: abs(flops_of(network) - flops_of(wide)),
    )
    backbones = {"V2*": wide, "V2": plain}
    found = {name: np.zeros(options.seeds) for name in backbones}
    for seed in range(options.seeds):
        for name, network in backbones.items():
            found[name][seed] = mmap_of(network, options.out, recipe, seed)
            print(f"{name}, seed {seed}: mmAP {found[name][seed]:.1f}", flush=True)
    print("\n| backbone | widths | MFLOPs | mmAP by seed | mean |")
    print("| --- | --- | --- | --- | --- |")
    for name, network in backbones.items():
        widths = ", ".join(str(stage.width) for stage in network.stages)
        values = ", ".join(f"{value:.1f}" for value in found[name])
        mflops = flops_of(network) / 1e6
        print(f"| {name} | {widths} | {mflops:.2f} | {values} | {found[name].mean():.1f} |")
    difference = found["V2*"] - found["V2"]
    print(f"\nV2* - V2: {difference.mean():+.2f} points{interval(difference)}")


def backbone(factor: float, *, wide_field: bool) -> nas.Architecture:
    """The small network of the how-to page, with its stages `factor` times as wide."""
    return nas.Architecture(
        stem=(16,),
        stem_pool=False,
        stages=tuple(
            nas.Stage(depth=depth, width=2 * round(width * factor / 2), wide_field=wide_field)
            for depth, width in STAGES
        ),
        head=128,
        resolution=HEIGHT,
        classes=10,
    )


def flops_of(network: nas.Architecture) -> int:
    """Multiply-adds of the trunk of a network."""
    return cost_of(trunk_of(network, HEIGHT, WIDTH).graph).flops


def mmap_of(network: nas.Architecture, out: Path, recipe: Path, seed: int) -> float:
    """The mmAP of a training in %, trained now unless it is finished."""
    folder = out / f"{network.digest}-{seed}"
    if not (folder / SUMS).exists():
        file = out / f"{network.digest}.yaml"
        file.write_text(architecture_to_yaml(network))
        plan = DetectorPlan("drawn", "ssdlite", HEIGHT, WIDTH, str(recipe), seed, device="cpu")
        train_detector(str(file), folder, plan, storage=f"sqlite:///{out}/none.db", notify=print)
    return trained_metrics(folder).mmap_percent


def interval(difference: np.ndarray) -> str:
    """The 95 % interval of a mean, in words; nothing for a single seed."""
    if len(difference) < 2:
        return ""
    error = stats.sem(difference) * stats.t.ppf(0.975, len(difference) - 1)
    return f", 95 % interval {difference.mean() - error:+.2f} to {difference.mean() + error:+.2f}"


if __name__ == "__main__":
    main()
