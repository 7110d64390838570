"""Trains detectors on candidates for a short time, as a search does.

All candidates have the same head and size of images, and see the same images in the same order.
The scores are COCO's mean average precision (mmAP) on all validation images.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.detection.detector import Detector, DetectorForm
from nas_sv2.evaluate.detection.scenes import SceneData
from nas_sv2.evaluate.detection.score import check_scorer
from nas_sv2.evaluate.detection.training import (
    QUICK,
    DetectorRun,
    TrainedDetector,
    check_batch,
    open_detector_recipe,
    place_of,
)
from nas_sv2.evaluate.fitting.checkpoint import checkpoint_name
from nas_sv2.evaluate.fitting.evaluation import DETECTOR, Epoch, Evaluation, Trained
from nas_sv2.evaluate.fitting.evaluator import EvaluatorChoice, Setting, Stops
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.files import made_folder
from nas_sv2.space.runtimes.torch_lowering import weights_of
from nas_sv2.space.units.architecture import Architecture


@dataclass(frozen=True, eq=False)
class DetectorTraining:
    """Trains a detector on each candidate by one recipe on one data set; a `Trainer`.

    Attributes:
        form: Head and size of the images.
        recipe: The recipe.
        data: The images.
        setting: Seed, processor and place of the checkpoints.
    """

    form: DetectorForm
    recipe: Recipe
    data: SceneData
    setting: Setting

    @property
    def seed(self) -> int:
        """The seed of the trainings."""
        return self.setting.seed

    @property
    def place(self) -> str:
        """The processor, as evaluations record it."""
        return place_of(self.setting.device, self.setting.threads)

    def adapt(self, architecture: Architecture) -> Architecture:
        """Return `architecture`, whose trunk is the backbone of a detector.

        Raises:
            ConfigError: It has no trunk for a detector of this form.
        """
        self.detector(architecture).trunk  # noqa: B018, refuses the size of the images
        return architecture

    def detector(self, architecture: Architecture) -> Detector:
        """Return the detector on a candidate."""
        return self.form.on(architecture, len(self.data.categories))

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """Train a detector on `architecture` from fresh weights and score it.

        Args:
            architecture: The network.
            stops: Not asked: a pass is not scored before the last.

        Returns:
            The evaluation, and the weights of the whole detector by torch's names.

        Raises:
            ConfigError: The network has no trunk for a detector of this form.
            EvaluationError: The loss is not finite, or an image cannot be read.
            StoreError: A checkpoint cannot be read or written.
        """
        with self._folder(architecture) as out:
            trained = self.run(architecture, out).train()
        found = self._evaluation(trained)
        return Trained(found, architecture, weights_of(trained.module))

    def run(self, architecture: Architecture, out: Path) -> DetectorRun:
        """Return the training of a detector on a candidate, in the folder `out`."""
        setting = self.setting
        return DetectorRun(
            self.detector(architecture),
            self.data,
            self.recipe,
            out,
            setting.seed,
            setting.threads,
            setting.device,
            setting.progress or (lambda done, steps: None),
            setting.notify,
        )

    @contextmanager
    def _folder(self, architecture: Architecture) -> Iterator[Path]:
        """The folder of a training, deleted when the training has ended by itself."""
        if self.setting.checkpoints is None:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder)
            return
        identity = self.run(architecture, self.setting.checkpoints).identity
        kept = self.setting.checkpoints / checkpoint_name(identity)
        try:
            yield made_folder(kept)
        except EvaluationError:
            shutil.rmtree(kept, ignore_errors=True)  # a resumed training would fail again
            raise
        shutil.rmtree(kept, ignore_errors=True)

    def _evaluation(self, trained: TrainedDetector) -> Evaluation:
        score = trained.score
        box_ap, box_ap50 = _share(score.mmap_percent), _share(score.ap50_percent)
        passes = [record.trained for record in trained.records]
        images = sum(done.images for done in passes)
        epochs = [Epoch(done.loss, done.learning_rate) for done in passes[:-1]]
        epochs.append(Epoch(passes[-1].loss, passes[-1].learning_rate, box_ap=box_ap))
        return Evaluation(
            accuracy=None,
            recipe=self.recipe.name,
            recipe_digest=self.recipe.digest,
            data=self.data.provenance,
            seed=self.seed,
            device=self.place,
            seconds=trained.seconds,
            images_per_second=images / sum(done.seconds for done in passes),
            epochs=len(passes),
            train_images=images,
            val_images=score.images,
            history=tuple(epochs),
            scored_by=self.recipe.score,
            scores=(box_ap,),
            classes=len(self.data.categories),
            box_ap=box_ap,
            box_ap50=box_ap50,
        )


def _share(percent: float | None) -> float:
    assert percent is not None, "a data set without boxes to score is refused"
    return percent / 100


def choose_detector(form: DetectorForm, recipe: str | None) -> EvaluatorChoice:
    """Choose the training of a detector for each candidate.

    Args:
        form: Head and size of the images.
        recipe: A recipe of detectors in the user's words; None for `detector-quick`.

    Raises:
        ConfigError: There is no such recipe.
    """
    return find_detector(QUICK if recipe is None else open_detector_recipe(recipe), str(form))


def find_detector(recipe: Recipe, form: str) -> EvaluatorChoice:
    """Find the training of a study's detectors again.

    Args:
        recipe: The recipe that its evaluations record.
        form: The detector, as `DetectorForm` writes it.

    Raises:
        ConfigError: `form` names another thing than a detector.
    """
    read = DetectorForm.read(form)
    return EvaluatorChoice(
        words="recipe",
        short_name=f"{read.head}-{recipe.name}",
        recipe=recipe,
        open=partial(_open, read, recipe),
        identity={DETECTOR: form},
        trains=True,
        weights_by="training it again",
    )


def _open(
    form: DetectorForm, recipe: Recipe, data: SceneData, setting: Setting
) -> DetectorTraining:
    check_scorer()
    check_batch(recipe, data)
    if not any((~scene.crowds).any() for scene in data.val.scenes):
        raise ConfigError("data", data.name, "must have a box to score in its validation images")
    return DetectorTraining(form, recipe, data, setting)
