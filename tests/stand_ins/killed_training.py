"""A training to be killed, and what an undisturbed one comes to."""

import dataclasses
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import torch

from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.proxy import training
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.units.architecture import Architecture, Stage

RECIPE = Recipe(
    "killed", 3, batch=20, images_per_epoch=100, learning_rate=0.05, seeds=2, crop_area=0.5,
    validate_each_epoch=True, hopeless_after=1.0, optimiser="adamw",
)  # fmt: skip


def data() -> ImageData:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 200, (400, 1, 16, 16), generator=generator)
    labels = torch.arange(400) % 2
    images[labels == 0, :, :8] += 25
    images[labels == 1, :, 8:] += 25
    images, names = images.to(torch.uint8), ("above", "below")
    train, val = Part(images[:200], labels[:200]), Part(images[200:], labels[200:])
    return ImageData("halves", "k", names, train, val)


def main(folder: str | None, step: int, where: str) -> dict[str, Any]:
    """Train two easy classes with checkpoints in `folder`; give figures and weights.

    At step `step` the process kills itself by SIGKILL, as a machine does that runs out of memory;
    0 lets it end. `where` is `step` to save after every step, `pass` only after passes.
    """
    if where == "step":
        training.CHECKPOINT_SECONDS = 0.0

    def at_step(done: int, steps: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    stages = (Stage(1, 16), Stage(1, 32, residual=True), Stage(2, 64, se=True))
    network = Architecture(stem=(8,), stages=stages, head=64, resolution=64)
    told: list[str] = []
    evaluator = training.ProxyTraining(
        RECIPE,
        data(),
        seed=1,
        threads=1,
        progress=at_step,
        checkpoints=None if folder is None else Path(folder),
        notify=told.append,
    )
    trained = evaluator.train(network)
    weights = hashlib.sha256()
    for name in sorted(trained.weights):
        weights.update(trained.weights[name].tobytes())
    figures = dataclasses.replace(trained.evaluation, seconds=0, images_per_second=0)
    return {"figures": figures.to_json(), "weights": weights.hexdigest(), "told": told}
