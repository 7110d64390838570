"""A trained supernet: its folder, and evaluations by its weights, in seconds and without training.

The folder has `weights.safetensors` and `supernet.json`, which is written last and has the digest
of the weights. Its `digest` covers space, data, recipe, seed, sampling and weights; evaluations
record it.

A network is evaluated on copies of its slices. Its batch norms take their own statistics over
training images of the recipe. Then it is validated as after a training. The same network always
gets the same evaluation.
"""

import dataclasses
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas_sv2.documents import AboveZero, Positive, Whole, check_value, read_document
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.evaluation import Evaluation, Trained, data_key
from nas_sv2.evaluate.fitting.evaluator import EvaluatorChoice, Setting, Stops
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import recipe_from_document, recipe_to_document
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.supernet import Supernet, slices_of
from nas_sv2.evaluate.supernet.training import SupernetTraining, TrainedSupernet
from nas_sv2.files import read_bounded, write_whole
from nas_sv2.space.choices.search_space import SearchSpace, space_from_document, space_to_document
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import weights_of
from nas_sv2.space.runtimes.weights import MOST_WEIGHT_BYTES, Array
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.version import __version__

KIND = "supernet"
FACTS = "supernet.json"
WEIGHTS = "weights.safetensors"
FIRST_KERNEL, CLASSIFIER_BIAS = "stem.0.conv.weight", "head.classifier.bias"
SCHEMA_KEY = "nas_sv2_supernet"
SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class SavedSupernet:
    """A supernet's folder, read.

    Attributes:
        folder: The folder.
        digest: 16 hexadecimal digits that name the supernet.
        space: The space of its networks.
        trained_by: The recipe.
        data: The images of its training, `SPEC@KEY`.
        seed: Seed of its training.
        steps: Number of steps of its training.
        images: Number of images trained on, each counted once a step.
        seconds: Wall time of the training.
        facts: Content of `supernet.json`.
    """

    folder: Path
    digest: str
    space: SearchSpace
    trained_by: Recipe
    data: str
    seed: int
    steps: int
    images: int
    seconds: float
    facts: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The recipe of evaluations by this supernet.

        Images, norms, validation and score are those of `trained_by`. The name, and so the digest,
        are unique to this supernet, so that no evaluation is taken for that of a training.
        """
        name = f"supernet {self.digest} ({self.trained_by.name})"
        return dataclasses.replace(self.trained_by, name=name)

    def weights(self) -> dict[str, Tensor]:
        """The shared weights by name.

        Raises:
            StoreError: If the file cannot be read, or is not the one that was written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        content = _read(self.folder / WEIGHTS)
        if _sha256(content) != self.facts["weights"]:
            raise StoreError(f"{self.folder / WEIGHTS} is damaged, or of another supernet")
        try:
            found: dict[str, Tensor] = load(content)
        except SafetensorError as error:  # facts that were written for this file
            raise StoreError(f"{self.folder / WEIGHTS} is not a file of weights") from error
        return found

    def weights_for(self, architecture: Architecture) -> dict[str, Array]:
        """Return the learnt weights of a network, without statistics of its batch norms.

        Raises:
            ConfigError: If the network is not in the supernet's space.
            StoreError: If the weights cannot be read, or are not those of the space.
        """
        self.space.params_of(architecture)
        shared = self.weights()
        channels = shared[FIRST_KERNEL].shape[1] if FIRST_KERNEL in shared else 0
        adapted = dataclasses.replace(
            architecture, channels=channels or 1, classes=len(shared.get(CLASSIFIER_BIAS, ())) or 2
        )
        try:
            slices = slices_of(lower(adapted), {name: one.shape for name, one in shared.items()})
        except (KeyError, AssertionError):
            raise StoreError(f"the weights in {self.folder} are not those of its space") from None
        return {
            name: shared[one.shared][one.index].contiguous().numpy()
            for name, one in slices.items()
        }


def check_unfinished(out: Path) -> None:
    """Refuse a folder that holds a finished supernet.

    Raises:
        ConfigError: If it does.
    """
    if os.path.exists(out / FACTS):
        raise ConfigError("out", str(out), "must name a folder without a trained supernet")


def save_supernet(out: Path, how: SupernetTraining, trained: TrainedSupernet) -> SavedSupernet:
    """Write a trained supernet into `out`, `supernet.json` last.

    Raises:
        StoreError: If a file cannot be written.
    """
    from safetensors.torch import save

    weights = {name: one.contiguous() for name, one in trained.supernet.weights().items()}
    content = save(weights)
    facts = {
        SCHEMA_KEY: SCHEMA_VERSION,
        "space": space_to_document(how.space),
        "space_digest": how.space.digest,
        "data": how.data.provenance,
        "recipe": recipe_to_document(how.recipe),
        "recipe_digest": how.recipe.digest,
        "guidelines": dict(how.guidelines.limits),
        "random": how.random,
        "seed": how.seed,
        "steps": trained.steps,
        "images": trained.images,
        "device": how.training.place,
        "seconds": round(trained.seconds, 3),
        "loss": trained.loss,
        "weights": _sha256(content),
        "made_with": {
            "nas-sv2": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
    }
    _replace(out / WEIGHTS, content)
    _replace(out / FACTS, (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    return open_supernet(out)


def open_supernet(folder: Path) -> SavedSupernet:
    """Read the supernet in `folder`, without its weights.

    Raises:
        ConfigError: If there is none, or its facts cannot be read.
    """
    file = folder / FACTS
    if not os.path.isfile(file):
        allowed = "must be a folder that nas-sv2 supernet train wrote"
        raise ConfigError("supernet", str(folder), allowed)
    facts = read_document(file)
    if not isinstance(facts, Mapping) or facts.get(SCHEMA_KEY) != SCHEMA_VERSION:
        raise ConfigError("supernet", str(file), f"must start with {SCHEMA_KEY}: {SCHEMA_VERSION}")
    try:
        space = space_from_document(facts["space"], "")
        recipe = recipe_from_document(facts["recipe"])
        named = {key: facts[key] for key in _IDENTITY}
        text = json.dumps(named, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            "supernet", str(file), f"must be unchanged since it was written ({error!r})"
        ) from None
    for name, hint in _FIGURES.items():
        check_value(f"{file}: {name}", facts.get(name), hint)
    figures = {name: facts[name] for name in _FIGURES}
    return SavedSupernet(
        folder, digest, space, recipe, data=str(facts["data"]), facts=facts, **figures
    )


_IDENTITY = (
    *("space_digest", "data", "recipe_digest", "guidelines", "random", "seed"),
    *("steps", "device", "weights"),
)
_FIGURES: Mapping[str, Any] = {
    "seed": Whole,
    "steps": Positive,
    "images": Positive,
    "seconds": AboveZero,
}


def _read(file: Path) -> bytes:
    try:
        return read_bounded(file, MOST_WEIGHT_BYTES)
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}") from error


def _replace(file: Path, content: bytes) -> None:
    try:
        write_whole(file, content)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, eq=False)
class SupernetEvaluator:
    """Evaluates by a supernet; an `Evaluator`, and a `Trainer` that trains nothing.

    Attributes:
        saved: The supernet.
        data: The images that it was trained on.
        threads: As in `ProxyTraining`.
    """

    saved: SavedSupernet
    data: ImageData
    threads: int = 1

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
        with cpu_threads(self.threads):
            module = self._supernet.extract(architecture)
            found = self._training.validated(module, self.seed)
        evaluation = Evaluation(
            accuracy=found.accuracy,
            loss=None if found.mae is not None else found.loss,
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
            scores=(found.score(self.recipe.score),),
            balanced_accuracy=found.balanced_accuracy,
            majority=found.majority,
            classes=found.classes,
            mean_ap=found.mean_ap,
            mae=found.mae,
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
        sentence = f"{error.sentence}, that of supernet {digest}"
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


def _ask(saved: SavedSupernet, data: ImageData, setting: Setting) -> SupernetEvaluator:
    return SupernetEvaluator(saved, data, setting.threads)
