"""What says how good a candidate is: a training by a recipe, or a supernet that is asked.

A study has one of them for its whole life, and so has a certificate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.course import Progress
from nas_sv2.evaluate.proxy.trainer import Trainer
from nas_sv2.evaluate.proxy.training import ProxyTraining, check_trainable
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.asking import SupernetAsking
from nas_sv2.evaluate.supernet.files import SavedSupernet, open_supernet
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.space_files import open_space
from nas_sv2.studies.findings.attributes import SUPERNET

RECIPE = "recipe"
DEFAULT_RECIPE = "quick"


@dataclass(frozen=True, eq=False)
class EvaluatorChoice:
    """One of the two, understood.

    Attributes:
        recipe: As evaluations record it.
        supernet: That is asked; None where candidates are trained.
    """

    recipe: Recipe
    supernet: SavedSupernet | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What a study keeps beside the recipe; nothing where that says all.

        The content of a supernet and not its folder, which may be moved.
        """
        if self.supernet is None:
            return {}
        return {"evaluator": {SUPERNET: self.supernet.digest}}

    @property
    def described(self) -> list[str]:
        """For people, a fact a line."""
        if self.supernet is None:
            return []
        asked = self.supernet
        return [
            f"evaluator supernet {asked.digest} in {asked.folder}: trained once, "
            f"{asked.steps:,} steps in {asked.seconds:,.0f} s; candidates are asked, not trained"
        ]

    def check_stop_rule(self, wanted: bool) -> None:
        """Refuse to end trainings where there is none.

        Raises:
            ConfigError: It is wanted with a supernet.
        """
        if wanted and self.supernet is not None:
            raise ConfigError(
                "stop_rule", wanted, "must be off with a supernet: no candidate is trained"
            )

    def check_device(self, device: str) -> None:
        """Refuse to train where there is no such processor, or nothing to train.

        Raises:
            ConfigError: Neither `cpu` nor `cuda`, or `cuda` with a supernet or a recipe for CPUs.
        """
        if device not in ("cpu", "cuda"):
            raise ConfigError("device", device, "must be cpu or cuda")
        if self.supernet is None:
            check_trainable(self.recipe, device)
        elif device != "cpu":
            raise ConfigError(
                "device", device, "must be cpu with a supernet: no candidate is trained"
            )

    def space(self, text: str | None, otherwise: SearchSpace) -> SearchSpace:
        """The space that `text` names, which is the supernet's where there is one.

        Args:
            text: What the user named, or None.
            otherwise: Where nothing was named and candidates are trained.

        Raises:
            ConfigError: There is no such space, or it is not the supernet's.
        """
        named = open_space(text) if text else None
        if self.supernet is None:
            return named or otherwise
        if named is not None and named.digest != self.supernet.space.digest:
            allowed = f"must be the supernet's space, {self.supernet.space.name}, or be left out"
            raise ConfigError("space", text, allowed)
        return named or self.supernet.space

    def trainer(
        self,
        data: ImageData,
        seed: int = 0,
        *,
        threads: int | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
        checkpoints: Path | None = None,
        told: Callable[[str], None] = lambda line: None,
    ) -> Trainer:
        """What answers for `data`; a supernet has a seed of its own, and needs no checkpoints.

        Raises:
            ConfigError: The supernet was trained on other data.
        """
        if self.supernet is not None:
            return SupernetAsking(self.supernet, data, threads)
        return ProxyTraining(
            self.recipe,
            data,
            seed,
            threads,
            device,
            progress=progress,
            checkpoints=checkpoints,
            told=told,
        )


def evaluator_choice(evaluator: str, recipe: str | None) -> EvaluatorChoice:
    """What the words of `--evaluator` and `--recipe` mean.

    Raises:
        ConfigError: Neither `recipe` nor `supernet:DIR`; a recipe beside a supernet, which has
            its own; or one of them is not there.
    """
    kind, colon, folder = evaluator.partition(":")
    if evaluator == RECIPE:
        chosen = open_recipe(recipe or DEFAULT_RECIPE)
        return EvaluatorChoice(chosen)
    if kind != SUPERNET or not colon or not folder:
        raise ConfigError("evaluator", evaluator, "must be recipe, or supernet:DIR")
    if recipe is not None:
        allowed = "must be left out beside a supernet, which has the recipe of its training"
        raise ConfigError("recipe", recipe, allowed)
    saved = open_supernet(Path(folder))
    return EvaluatorChoice(saved.recipe, saved)
