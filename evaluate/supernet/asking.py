"""Evaluates a network by the weights of a supernet, in seconds and without training.

The network runs on copies of its slices. Its batch norms take their own statistics over training
images of the recipe. Then it is validated as after a training. The same network always gets the
same evaluation.
"""

import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.evaluation import Evaluation, Trained, data_key
from nas_sv2.evaluate.fitting.evaluator import EvaluatorChoice, Setting, Stops
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.files import SavedSupernet, open_supernet
from nas_sv2.evaluate.supernet.supernet import Supernet
from nas_sv2.space.runtimes.torch_lowering import weights_of
from nas_sv2.space.units.architecture import Architecture


@dataclass(frozen=True, eq=False)
class SupernetAsking:
    """Evaluates by a supernet; an `Evaluator`, and a `Trainer` that trains nothing.

    Attributes:
        saved: The supernet.
        data: The images that it was trained on.
        threads: As in `ProxyTraining`.
    """

    saved: SavedSupernet
    data: ImageData
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse data that the supernet was not trained on."""
        # Only the content counts: the name before it may be a relative path.
        if self.data.key != data_key(self.saved.data):
            allowed = f"must be the data that the supernet was trained on, {self.saved.data}"
            raise ConfigError("data", self.data.provenance, allowed)

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Evaluate `architecture`; see `train` for the errors."""
        return self.train(architecture).evaluation

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """Take the weights of a network from the supernet, and evaluate it.

        Args:
            architecture: A network of the supernet's space.
            stops: Never called, since nothing is trained.

        Raises:
            ConfigError: If the network is not in the supernet's space.
            EvaluationError: If the validation loss is not finite.
            StoreError: If the weights cannot be read.
        """
        self.saved.space.params_of(architecture)
        started = time.perf_counter()
        with cpu_threads(self._training.thread_count):
            module = self._supernet.extract(architecture)
            found = self._training.validated(module, self.seed)
        evaluation = Evaluation(
            accuracy=found.accuracy,
            loss=found.loss,
            recipe=self.recipe.name,
            recipe_digest=self.recipe.digest,
            data=self.data.provenance,
            seed=self.seed,
            device=self.place,
            seconds=time.perf_counter() - started,
            images_per_second=self.saved.images / self.saved.seconds,
            epochs=self.recipe.epochs,
            train_images=self.saved.images,
            val_images=found.images,
            scored_by=self.recipe.score,
            scores=(found.accuracy if self.recipe.score == "accuracy" else -found.loss,),
            balanced_accuracy=found.balanced_accuracy,
            majority=found.majority,
            classes=found.classes,
        )
        return Trained(evaluation, self.adapt(architecture), weights_of(module))

    def adapt(self, architecture: Architecture) -> Architecture:
        """The form of `architecture` in the supernet's training."""
        return self._training.adapt(architecture)

    @property
    def name(self) -> str:
        """The name under which evaluations are kept."""
        return self.recipe.name

    @property
    def recipe(self) -> Recipe:
        """The supernet's recipe, under a name and a digest of its own."""
        return self.saved.recipe

    @property
    def seed(self) -> int:
        """The seed of the supernet's training."""
        return self.saved.seed

    @property
    def place(self) -> str:
        """The processor of the evaluations."""
        return self._training.place

    @cached_property
    def _training(self) -> ProxyTraining:
        return ProxyTraining(self.saved.trained_by, self.data, self.seed, self.threads)

    @cached_property
    def _supernet(self) -> Supernet:
        supernet = Supernet(self.saved.space, self.adapt, stream(self.seed, "weights"))
        weights = self.saved.weights()
        found = {name: tuple(weight.shape) for name, weight in weights.items()}
        if found != supernet.shapes:
            raise StoreError(f"the weights in {self.saved.folder} are not those of its space")
        supernet.load(weights)
        return supernet


KIND = "supernet"


def choose_supernet(rest: str, recipe: str | None) -> EvaluatorChoice:
    """Choose the supernet in folder `rest`.

    Raises:
        ConfigError: If there is none, or a recipe is given beside it.
    """
    if not rest:
        raise ConfigError("evaluator", KIND, "must have its folder: supernet:DIR")
    if recipe is not None:
        sentence = "must be left out beside a supernet, which has the recipe of its training"
        raise ConfigError("recipe", recipe, sentence)
    return _choice(open_supernet(Path(rest)))


def find_supernet(recipe: Recipe, digest: str, place: Path | None) -> EvaluatorChoice:
    """Find the supernet of a study.

    Args:
        recipe: The recipe that the study's evaluations record.
        digest: The supernet's name.
        place: The folder in which to look; None if none was noted.

    Raises:
        ConfigError: If it is not there, or the folder has another one.
    """
    try:
        if place is None:  # the study was killed before it kept the folder
            raise ConfigError(KIND, None, "must be a folder")
        saved = open_supernet(place)
    except ConfigError as error:
        sentence = f"{error.sentence}; name the folder of supernet {digest} as supernet"
        raise ConfigError(error.field, error.value, sentence) from None
    if saved.digest != digest:
        sentence = f"must be the folder of supernet {digest}, that of the study"
        raise ConfigError(KIND, str(place), f"{sentence}; this is {saved.digest}")
    return _choice(saved)


def _choice(saved: SavedSupernet) -> EvaluatorChoice:
    return EvaluatorChoice(
        words=f"{KIND}:{saved.folder}",
        short_name=f"{KIND}-{saved.digest}",
        recipe=saved.recipe,
        open=partial(_ask, saved),
        identity={KIND: saved.digest},  # without the folder, which may be moved
        place=saved.folder,
        described=(
            f"evaluator supernet {saved.digest} in {saved.folder}: trained once, "
            f"{saved.steps:,} steps in {saved.seconds:,.0f} s; candidates are asked, not trained",
        ),
        weights_by="asking the supernet again",
        seed=saved.seed,
        space=saved.space,
        seconds_before=saved.seconds,
    )


def _ask(saved: SavedSupernet, data: ImageData, setting: Setting) -> SupernetAsking:
    return SupernetAsking(saved, data, setting.threads)
