"""What int8 costs in accuracy, and what training with its rounding brings back.

    python benchmarks/int8_accuracy.py --data imagefolder:PATH --out int8.json

Each network is trained in float32 for a short time. Then three forms answer the same validation
images: float32, its static int8 form, and the int8 form after a fine-tuning with the rounding of
int8 (`network train --qat`). Both int8 forms are the files that an export ships, run by
onnxruntime. Intervals are paired over the images.

The fine-tuning takes further passes, which float32 does not have. So float32 is fine-tuned by the
same recipe too, and the last column is beside that. A network that is in the file already is not
trained again.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.start import Start
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.files import write_whole
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

NAMES = (
    *("shufflenet_v2_x0_25", "shufflenet_v2_x0_35", "shufflenet_v2_x0_5"),
    *("shufflenet_v2_se_x0_5", "shufflenet_v2_residual_x0_5"),
)
DRAWN = 6
"""Networks that are drawn from the space of 40 MFLOPs, beside the named ones."""
FLOAT = Recipe("float32", epochs=4, learning_rate=0.1, norm_images=512, hopeless_after=0.0)
ROUNDED = Recipe(
    "rounded", epochs=1, learning_rate=0.01, warm_up=0.1, norm_images=0, label_smoothing=0.0
)


def networks(seed: int) -> dict[str, Architecture]:
    """Return the networks by name, the drawn ones by their digest."""
    from nas_sv2.space.choices.probe_networks import trajectories

    drawn = trajectories(named_space("40M"), 1, seed).networks[:DRAWN]
    return {name: reference(name) for name in NAMES} | {one.digest[:8]: one for one in drawn}


def compared(network: Architecture, data: ImageData, seed: int) -> dict[str, Any]:
    """Train one network in float32, then with and without rounding; return the figures."""
    first = ProxyTraining(FLOAT, data, seed, threads=1).train(network)
    start = Start(first.weights, "the training in float32")
    with tempfile.TemporaryDirectory() as folder:
        plain = FullRun(ROUNDED, data, Path(folder, "plain"), seed, threads=1, start=start)
        rounded = FullRun(
            ROUNDED, data, Path(folder, "rounded"), seed, threads=1, start=start, qat=True
        )
        for run in (plain, rounded):
            run.out.mkdir()
        longer, found = plain.train(first.architecture), rounded.train(first.architecture)
    assert found.int8 is not None
    figures = dataclasses.asdict(found.int8)
    del figures["ranges"]
    return {**figures, "longer": longer.validation.accuracy, "data": data.provenance}


def rows(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the figures as a table in Markdown, with the means."""
    lines = [
        "| network | float32 | static int8 | change | int8, fine-tuned | change | fine-tuned "
        "beside static | float32, as many passes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        static, trained = one["static"], one["trained"]
        lines.append(
            f"| {name} | {one['float32']:.2%} | {static['accuracy']:.2%} | {_change(static)} | "
            f"{trained['accuracy']:.2%} | {_change(trained)} | {_change(one['gain'])} | "
            f"{one['longer']:.2%} |"
        )
    mean = {
        name: 100 * statistics.fmean(one[name]["change"] for one in found.values())
        for name in ("static", "trained", "gain")
    }
    longer = 100 * statistics.fmean(one["longer"] - one["float32"] for one in found.values())
    lines.append(
        f"| mean of {len(found)} | | | {mean['static']:+.2f} | | {mean['trained']:+.2f} | "
        f"{mean['gain']:+.2f} | {longer:+.2f} |"
    )
    return lines


def _change(of: dict[str, float]) -> str:
    return f"{100 * of['change']:+.2f} ({100 * of['low']:+.2f} to {100 * of['high']:+.2f})"


def main() -> None:
    """Compare the networks that the file lacks, and print all of them."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--data", default="animals")
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    data = open_data(given.data)
    for name, network in networks(given.seed).items():
        if name not in found:
            found[name] = compared(network, data, given.seed)
            write_whole(given.out, json.dumps(found, indent=1).encode())
            print(name, {k: v for k, v in found[name].items() if k != "data"}, flush=True)
    print("\n".join(rows(found)))


if __name__ == "__main__":
    main()
