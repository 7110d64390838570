"""The worth of a teacher of four times the size: ShuffleNet V2 0.5x taught by V2 1x, and alone.

python benchmarks/teacher.py --data imagefolder:PATH --data fashion-mnist:PATH --out FOLDER

The teacher, V2 1x, is trained once for each data set, and the student with and without it for
each seed, all in the form of small images and on one thread. At 32×32 they have 10.9 and 45.3
MFLOPs. A training that was killed is resumed, and a finished one is read from its folder, so the
same command goes on. It prints a table: accuracy on the test images (validation images if the
data have none) and the mean difference of the seeds, with its 95 % interval by a paired t test.
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import scipy.stats

import nas_sv2
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_to_yaml
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.space.units.reference import reference

STUDENT, TEACHER = "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"


def main() -> None:
    """Train what is missing, then print the table."""
    parse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parse.add_argument("--data", action="append", required=True, help="A data set; repeatable.")
    parse.add_argument("--out", type=Path, required=True, help="Folder of the trainings.")
    parse.add_argument("--seeds", type=int, default=3, help="Students with and without.")
    parse.add_argument("--epochs", type=int, default=30, help="Passes of each training.")
    parse.add_argument("--images", type=int, help="Images a pass; all if left out.")
    parse.add_argument("--temperature", type=float, help="Of the teacher; 4 if left out.")
    asked = parse.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    recipe = dataclasses.replace(
        open_recipe("standard"), name="teacher", epochs=asked.epochs, images_per_epoch=asked.images
    )
    (asked.out / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    print("| data | teacher | without | with | difference |\n| --- | --- | --- | --- | --- |")
    for data in asked.data:
        print(row(data, asked.out, asked.seeds, asked.temperature), flush=True)


def row(data: str, out: Path, seeds: int, temperature: float | None) -> str:
    """Return the row of a data set, after the trainings that are missing."""
    opened = open_data(data)
    folder = out / opened.key
    folder.mkdir(exist_ok=True)
    for name in (STUDENT, TEACHER):
        small = dataclasses.replace(
            reference(name), resolution=opened.resolution, stem_stride=1, stem_pool=False
        )
        (folder / f"{name}.yaml").write_text(architecture_to_yaml(small))
    big = trained(folder, TEACHER, "teacher", data, seed=1000)
    alone, taught = list[float](), list[float]()
    for seed in range(seeds):
        alone.append(trained(folder, STUDENT, f"alone-{seed}", data, seed))
        model = str(folder / "teacher")
        taught.append(trained(folder, STUDENT, f"taught-{seed}", data, seed, model, temperature))
    return f"| {data} | {big:.2%} | {spread(alone)} | {spread(taught)} | {gain(alone, taught)} |"


def trained(
    folder: Path,
    network: str,
    name: str,
    data: str,
    seed: int,
    teacher: str | None = None,
    temperature: float | None = None,
) -> float:
    """Return the accuracy of a training, which is begun, resumed or read."""
    card = folder / name / "card.json"
    if not card.exists():
        nas_sv2.train(
            str(folder / f"{network}.yaml"),
            folder / name,
            data=data,
            recipe=str(folder.parent / "recipe.yaml"),
            seed=seed,
            device="cpu",
            teacher=teacher,
            temperature=temperature,
        )
    found = json.loads(card.read_text())
    return float((found["test"] or found["validation"])["accuracy"])


def spread(accuracies: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    if len(accuracies) < 2:
        return f"{accuracies[0]:.2%}"
    return f"{statistics.fmean(accuracies):.2%} ± {100 * statistics.stdev(accuracies):.2f}"


def gain(alone: Sequence[float], taught: Sequence[float]) -> str:
    """Return the mean difference in points, with its 95 % interval over the seeds."""
    points = [100 * (ours - theirs) for ours, theirs in zip(taught, alone, strict=True)]
    mean = statistics.fmean(points)
    if len(points) < 2:
        return f"{mean:+.2f}"
    error = statistics.stdev(points) / len(points) ** 0.5
    half = float(scipy.stats.t.ppf(0.975, len(points) - 1)) * error
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"


if __name__ == "__main__":
    main()
