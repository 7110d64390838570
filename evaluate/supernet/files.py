"""A trained supernet as a folder: the shared weights, and all facts that they depend on.

The folder has `weights.safetensors` and `supernet.json`, which is written last and has the digest
of the weights. Its `digest` covers space, data, recipe, seed, sampling and weights; evaluations
record it.
"""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas_sv2.documents import AboveZero, Positive, Whole, check_value, read_document
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.recipes.files import recipe_from_document, recipe_to_document
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.training import SupernetTraining, TrainedSupernet
from nas_sv2.files import read_bounded, write_whole
from nas_sv2.space.choices.search_space import SearchSpace, space_from_document, space_to_document
from nas_sv2.space.runtimes.weights import MOST_WEIGHT_BYTES
from nas_sv2.version import __version__

FACTS = "supernet.json"
WEIGHTS = "weights.safetensors"
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


def check_unfinished(out: Path) -> None:
    """Refuse a folder that holds a finished supernet.

    Raises:
        ConfigError: If it does.
    """
    if (out / FACTS).exists():
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
    if not file.is_file():
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
