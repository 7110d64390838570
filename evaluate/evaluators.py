"""The evaluators that a search takes: our own kinds by a word, and any object of the user's.

A kind of our own is one line of `KINDS`; all that differs between kinds is in its own module.
"""

import dataclasses
import reprlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluation import DETECTOR, Evaluation, Trained
from nas_sv2.evaluate.fitting.evaluator import Evaluator, EvaluatorChoice, Setting, Stops
from nas_sv2.evaluate.proxy.training import choose_recipe, choose_training
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.trained import KIND as SUPERNET
from nas_sv2.evaluate.supernet.trained import choose_supernet, find_supernet
from nas_sv2.plain_data import printable
from nas_sv2.plug_ins import is_plug_in, load_plug_in
from nas_sv2.space.units.architecture import Architecture

RECIPE = "recipe"
OBJECT = "object"
"""The kind of an evaluator of the user's in a study's identity."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of evaluator.

    Attributes:
        choose: Chooses one by the words behind `KIND:` and the recipe.
        find: Finds that of a study by recipe, content and place; None if the recipe says all.
    """

    choose: Callable[[str, str | None], EvaluatorChoice]
    find: Callable[[Recipe, str, Path | None], EvaluatorChoice] | None = None


def _find_detector(recipe: Recipe, form: str, place: Path | None) -> EvaluatorChoice:
    from nas_sv2.evaluate.detection.short_training import find_detector  # imports torchvision

    return find_detector(recipe, form)


def _refuse_detector(form: str, recipe: str | None) -> EvaluatorChoice:
    sentence = "must be recipe; the task detection trains a detector on each candidate"
    raise ConfigError("evaluator", f"{DETECTOR}:{form}", sentence)


KINDS = {
    RECIPE: Kind(choose_training),
    SUPERNET: Kind(choose_supernet, find_supernet),
    DETECTOR: Kind(_refuse_detector, _find_detector),
}


def choose_evaluator(evaluator: str | Evaluator, recipe: str | None) -> EvaluatorChoice:
    """Choose an evaluator.

    Args:
        evaluator: `recipe`, `supernet:DIR`, the `module:attribute` of an object, or the object.
        recipe: A recipe of ours in the user's words; None for the default.

    Raises:
        ConfigError: There is no such evaluator, or it takes no recipe.
    """
    if not isinstance(evaluator, str):
        return choose_object(evaluator, recipe)
    kind, _, rest = evaluator.partition(":")
    if kind in KINDS:
        return KINDS[kind].choose(rest, recipe)
    if not is_plug_in(evaluator):
        sentence = "must be recipe, supernet:DIR or the module:attribute of an evaluator"
        raise ConfigError("evaluator", evaluator, sentence)
    found = load_plug_in("evaluator", evaluator, "evaluate")
    return dataclasses.replace(choose_object(found, recipe), words=evaluator)


def find_evaluator(
    recipe: Recipe, identity: Mapping[str, str], place: Path | None
) -> EvaluatorChoice:
    """Find the evaluator of a study again.

    Args:
        recipe: The recipe that its evaluations record.
        identity: The fields that the study kept of it beside the recipe, `{kind: content}`; empty
            for a recipe alone.
        place: The folder it lies in now, if it lies in one.

    Raises:
        ConfigError: It is not there, or it is an object of the user's, which has no weights.
    """
    for kind, content in identity.items():
        find = KINDS[kind].find if kind in KINDS else None
        if find is None:
            sentence = "must give weights: this one is your own and gives accuracies alone"
            raise ConfigError("evaluator of the study", content, sentence)
        return find(recipe, content, place)
    return choose_recipe(recipe)


def choose_object(evaluator: object, recipe: str | None) -> EvaluatorChoice:
    """Choose an object of the user's.

    Raises:
        ConfigError: It lacks a member of `Evaluator`, or a recipe is given beside it.
    """
    for member in ("name", "evaluate"):
        if not hasattr(evaluator, member):
            sentence = f"must have the members name and evaluate; it lacks {member}"
            raise ConfigError("evaluator", evaluator, sentence)
    own = cast(Evaluator, evaluator)
    if not isinstance(own.name, str) or not own.name.strip():
        raise ConfigError("evaluator.name", own.name, "must be one word or two")
    if recipe is not None:
        sentence = f"must be left out beside evaluator {own.name}, which trains by its own means"
        raise ConfigError("recipe", recipe, sentence)
    return EvaluatorChoice(
        words=own.name,
        short_name=own.name.replace(" ", "-"),
        recipe=Recipe(own.name, epochs=1),
        open=partial(_wrap, own),
        identity={OBJECT: own.name},
        described=(f"evaluator {own.name}: your own; it gives accuracies and no weights",),
    )


@dataclass(frozen=True, eq=False)
class ObjectTrainer:
    """An evaluator of the user's as a search runs it; a `Trainer` without weights.

    Attributes:
        evaluator: The object.
        recipe: A recipe that only carries its name.
        data: The data of the study.
        seed: The seed of the search.
    """

    evaluator: Evaluator
    recipe: Recipe
    data: ImageData
    seed: int

    @property
    def place(self) -> str:
        """The processor is not known."""
        return f"evaluator {self.recipe.name}"

    def adapt(self, architecture: Architecture) -> Architecture:
        """Return `architecture`: the evaluator adapts it as it likes."""
        return architecture

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """Ask the evaluator; fill in what it leaves out of its evaluation.

        Raises:
            EvaluationError: It gave no evaluation, or an accuracy outside 0 to 1.
        """
        who, started = f"evaluator {printable(self.recipe.name)}", time.perf_counter()
        try:
            found = self.evaluator.evaluate(architecture)
        except EvaluationError as error:  # such as that of an Evaluation that cannot be
            raise EvaluationError(f"{who}: {error}") from error
        seconds = time.perf_counter() - started
        if not isinstance(found, Evaluation):
            got = printable(reprlib.repr(found))
            raise EvaluationError(f"{who} must give an Evaluation; got {got}")
        filled = dataclasses.replace(
            found,
            recipe=found.recipe or self.recipe.name,
            recipe_digest=self.recipe.digest,
            data=found.data or self.data.provenance,
            seed=self.seed,
            device=self.place,
            seconds=found.seconds or seconds,
        )
        return Trained(filled, architecture, {})


def _wrap(evaluator: Evaluator, data: ImageData, setting: Setting) -> ObjectTrainer:
    recipe = Recipe(evaluator.name, epochs=1)
    return ObjectTrainer(evaluator, recipe, data, setting.seed)
