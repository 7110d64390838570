"""A supernet against a recipe at equal compute, both against long training.

Certifies the recipe, trains a supernet for as long as the recipe takes for all networks of the
certificate less the time of asking them, certifies that, and prints both beside counting FLOPs.
Trainings that are in the database are not repeated.

    python benchmarks/supernet.py --storage sqlite:///certificates.db --out net
"""

import argparse
import dataclasses
import math
import time
from pathlib import Path

from nas_sv2.database.database import Database
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_to_yaml
from nas_sv2.evaluate.supernet.trained import SupernetEvaluator, check_unfinished, save_supernet
from nas_sv2.evaluate.supernet.training import SupernetTraining
from nas_sv2.search.qualification import QualifyRequest, qualify
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.studies.findings.certificate import Certificate

HERE = Path(__file__).parents[1] / "docs" / "lab" / "certificates"
TRIED_STEPS = 12  # to see what a step takes


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--recipe", default="quick")
    asked.add_argument("--reference", default=str(HERE / "reference.yaml"))
    asked.add_argument("--space", default=str(HERE / "space.yaml"))
    asked.add_argument("--data", default="fashion-mnist")
    asked.add_argument("--rate", type=float, default=0.1, help="learning rate of the supernet")
    asked.add_argument("--random", type=int, default=2, help="random networks a step")
    asked.add_argument("--trajectories", type=int, default=2)
    asked.add_argument("--matched", type=int, default=8)
    asked.add_argument("--seeds", type=int, default=2)
    asked.add_argument("--storage", default="sqlite:///nas-sv2.db")
    asked.add_argument("--out", type=Path, required=True, help="folder of the supernet")
    options = asked.parse_args()
    check_unfinished(options.out)
    request = QualifyRequest(
        options.recipe,
        options.data,
        options.reference,
        options.space,
        options.trajectories,
        options.matched,
        options.seeds,
        workers=1,
    )
    db = Database.open(options.storage)
    by_recipe = qualify(request, db, print, lambda done, total: None)
    count = len(by_recipe.networks)
    train(options, count, by_recipe.seconds)
    asking = dataclasses.replace(request, recipe=None, evaluator=f"supernet:{options.out}")
    by_supernet = qualify(asking, db, print, lambda done, total: None)
    print(
        f"\n{count} networks, {by_recipe.data}, space {by_recipe.space}, against "
        f"`{by_recipe.reference}` (mean of {by_recipe.seeds} seeds); wall time on one thread\n"
    )
    print("| | once, s | a candidate, s | candidates a minute | joint τ | equal FLOPs τ |")
    print("|---|---|---|---|---|---|")
    for name, certificate in ((f"`{options.recipe}`", by_recipe), ("supernet", by_supernet)):
        print(row(name, certificate, certificate.before_seconds, certificate.seconds, None))
    print(row("counting FLOPs", by_recipe, 0.0, 0.0, "flops"))


def train(options: argparse.Namespace, count: int, seconds: float) -> None:
    """Train a supernet that costs, with `count` askings, `count` times `seconds`."""
    space, data = open_space(options.space), open_data(options.data)
    plain = open_recipe(options.recipe)
    few = dataclasses.replace(plain, epochs=1, images_per_epoch=TRIED_STEPS * plain.batch)
    options.out.mkdir(parents=True, exist_ok=True)
    tried = SupernetTraining(space, few, data, Guidelines({}), options.random, threads=1)
    trained = tried.train()
    step_s = trained.seconds / trained.steps
    saved = save_supernet(options.out / "tried", tried, trained)
    started = time.perf_counter()
    SupernetEvaluator(saved, data, threads=1).evaluate(tried.networks(0)[2])
    asking_s = time.perf_counter() - started
    steps = math.floor(count * (seconds - asking_s) / step_s)
    passes = max(1, math.ceil(steps * plain.batch / len(data.train)))
    recipe = dataclasses.replace(
        plain,
        name="supernet",
        epochs=passes,
        images_per_epoch=steps * plain.batch // passes,
        learning_rate=options.rate,
    )
    print(f"{step_s:.3f} s a step, {asking_s:.2f} s an asking: {steps:,} steps\n")
    print(recipe_to_yaml(recipe))
    how = SupernetTraining(
        space, recipe, data, Guidelines({}), options.random, threads=1, checkpoints=options.out
    )
    save_supernet(options.out, how, how.train())
    how.finish()


def row(name: str, certificate: Certificate, once: float, each: float, by: str | None) -> str:
    """A line of the table."""
    joint = certificate.ranking(certificate.joint, by).tau
    matched = certificate.ranking(certificate.matched, by).tau
    rate = f"{60 / each:.1f}" if each else "–"
    return f"| {name} | {once:.0f} | {each:.1f} | {rate} | {joint} | {matched} |"


if __name__ == "__main__":
    main()
