"""A detector's training to be killed."""

import dataclasses
import os
import signal
from pathlib import Path

from nas_sv2.evaluate.detection import drawn, training
from nas_sv2.evaluate.detection.detector import Detector
from nas_sv2.evaluate.detection.scenes import SceneData
from nas_sv2.evaluate.detection.training import DetectorRun
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.families.published import published_network

TRAIN, VAL = 12, 3
NETWORK = published_network("shufflenet_v2_x0_5")
SHORT: Recipe = dataclasses.replace(training.DETECTOR_RECIPE, name="short", epochs=2, batch=4)


def detector(head: str) -> Detector:
    return Detector(NETWORK, head, 64, 64, 10)


def main(out: str, head: str, step: int) -> None:
    """Train in `out` with a checkpoint after every step; killed by SIGKILL at step `step`."""
    training.CHECKPOINT_SECONDS = 0.0
    drawn.TRAIN, drawn.VAL = TRAIN, VAL
    data: SceneData = drawn.open_drawn()

    def at_step(done: int, steps: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    DetectorRun(detector(head), data, SHORT, Path(out), progress=at_step).train()
