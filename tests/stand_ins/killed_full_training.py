"""A full training to be killed, and what an undisturbed one comes to; also one process of several.

`killed_full_training.py OUT STEP` trains in OUT with a checkpoint after every step. At STEP it
kills itself by SIGKILL, of several processes the last; 0 lets it end, and the first writes the
digest of the weights, figures and what it was told to OUT/came_to.json.
"""

import dataclasses
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from killed_training import data

from nas_sv2.evaluate.full import training as full_training
from nas_sv2.evaluate.full.distributed import Processes
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.space.units.architecture import Architecture, Stage

RECIPE = Recipe(
    "killed", 3, batch=20, images_per_epoch=100, learning_rate=0.05, crop_area=0.5, resolution=14,
    full_training=FullTraining(validation_resize=16, norm_steps=4, ema=True),
)  # fmt: skip
STAGES = (Stage(1, 16), Stage(2, 32, residual=True, se=True))
NETWORK = Architecture(stem=(8,), stages=STAGES, head=64, resolution=14, stem_pool=False)


def main(folder: str, step: str | int) -> None:
    full_training.CHECKPOINT_SECONDS = 0.0
    processes, out, told = Processes.of(os.environ), Path(folder), list[str]()
    out.mkdir(exist_ok=True)

    def at_step(done: int, steps: int) -> None:
        if done == int(step) and processes.rank == processes.count - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with processes.joined("cpu"):
        run = FullRun(
            RECIPE,
            data(),
            out,
            seed=1,
            processes=processes,
            threads=1,
            progress=at_step,
            notify=told.append,
        )
        trained = run.train(NETWORK)
    if processes.first:
        weights = hashlib.sha256()
        for name in sorted(trained.weights):
            weights.update(trained.weights[name].tobytes())
        figures = [
            {**dataclasses.asdict(each), "trained": [each.trained.loss, each.trained.images]}
            for each in trained.passes
        ]
        came_to = {"weights": weights.hexdigest(), "figures": figures, "told": told}
        (out / "came_to.json").write_text(json.dumps(came_to))


if __name__ == "__main__":
    main(*sys.argv[1:])
