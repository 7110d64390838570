"""A search in the user's words, and what they mean; nothing is opened but the data."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.engine import without_password
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.open_data import open_data
from nas_sv2.evaluate.evaluators import RECIPE, choose_evaluator
from nas_sv2.evaluate.fitting.determinism import has_gpu
from nas_sv2.evaluate.fitting.evaluator import Evaluator, EvaluatorChoice, Setting
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.latency.targets.book import MODULES, TargetBook
from nas_sv2.latency.targets.doctor import trust_warning
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.scale.cluster import versions
from nas_sv2.search.scale.cluster_training import TrainingOrder
from nas_sv2.search.session.duration import parse_duration
from nas_sv2.search.session.guideline_choice import Chosen, check_choice
from nas_sv2.search.session.samplers import SamplerChoice, sampler_choice
from nas_sv2.search.walk.audit_choice import SHARE, Audit
from nas_sv2.search.walk.budget import Budget, parse_budget
from nas_sv2.search.walk.early_stop import EarlyStop, check_stop_rule
from nas_sv2.search.walk.predict_first import check_mode
from nas_sv2.space.choices.extremes import smallest
from nas_sv2.space.choices.levels import nearest_level
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.studies.findings.attributes import EVALUATOR
from nas_sv2.studies.storage.places import absolute_data

DEFAULT_FLOPS = 140e6  # the level of the paper's 1× network, where no FLOPs are budgeted


@dataclass(frozen=True, slots=True)
class Request:
    """A search in the user's words; the options of `nas-sv2 search`."""

    targets: str
    budgets: Sequence[str] = ()
    space: str | None = None
    data: str = "animals"
    recipe: str | None = None
    sampler: str = "tpe"
    trials: int = 16
    timeout: str | None = None
    seed: int = 0
    study: str | None = None
    storage: str = DEFAULT_STORAGE
    tolerance: float = 0.05
    guidelines: str | None = None
    audit: float = SHARE
    stop_rule: bool = False
    latency: str = "measured"
    require_measured: bool = False
    skip_unreadable: bool = False
    evaluator: str | Evaluator = RECIPE
    workers: int = 1
    train_on: str = "cpu"
    ray: str | None = None


@dataclass(frozen=True)
class Question:
    """A request, understood."""

    book: TargetBook
    targets: list[str]
    budget: Budget
    space: SearchSpace
    evaluator: EvaluatorChoice
    data: ImageData
    sampler: SamplerChoice
    timeout_s: float | None
    audit: Audit
    study: str

    @property
    def recipe(self) -> Recipe:
        """As evaluations record it."""
        return self.evaluator.recipe

    @classmethod
    def of(cls, request: Request, told: Callable[[str], None]) -> "Question":
        """Understand a request; `told` is told of data that take long to open.

        Raises:
            ConfigError: A word of it cannot be meant.
            EvaluationError: The data cannot be read.
        """
        book = TargetBook.read()
        targets = book.names(request.targets)
        budget = parse_budget(request.budgets, targets, request.tolerance)
        if request.workers < 1:
            raise ConfigError("workers", request.workers, "must be at least 1")
        if request.trials < 1:
            raise ConfigError("trials", request.trials, "must be at least 1")
        if request.seed < 0:
            raise ConfigError("seed", request.seed, "must be a whole number from 0")
        timeout_s = parse_duration("timeout", request.timeout) if request.timeout else None
        check_mode(request.latency)
        check_choice(request.guidelines)
        sampler = sampler_choice(request.sampler)
        evaluator = choose_evaluator(request.evaluator, request.recipe)
        chosen = evaluator.recipe
        evaluator.check_device(request.train_on)
        if request.train_on == "cuda" and request.ray is None and not has_gpu():
            allowed = "must be cpu: torch sees no GPU on this machine"
            raise ConfigError("device", request.train_on, allowed)
        evaluator.check_stop_rule(request.stop_rule)
        check_stop_rule(request.stop_rule, chosen)
        nearest = nearest_level(budget.flops or DEFAULT_FLOPS)
        space = evaluator.choose_space(request.space, nearest)
        data = open_data(
            request.data,
            resolution=chosen.resolution,
            skip_unreadable=request.skip_unreadable,
            told=told,
        )
        trainer = evaluator.open(data, Setting(device=request.train_on))
        trainer.adapt(smallest(space))  # all of a space have one total stride
        return cls(
            book,
            targets,
            budget,
            space,
            evaluator,
            data,
            sampler,
            timeout_s,
            Audit(request.audit),
            study=request.study or _study_name(request, targets, evaluator),
        )

    def identity(
        self, targets: Mapping[str, Target], request: Request, guidelines: Chosen
    ) -> dict[str, Any]:
        """What all trials of the study depend on."""
        modules = self.book.modules(targets)
        return {
            "space": self.space.name,
            "space_digest": self.space.digest,
            "targets": {name: target.provenance for name, target in targets.items()},
            **({MODULES: modules} if modules else {}),
            "latency": request.latency,
            "budget": dataclasses.asdict(self.budget),
            "guidelines": guidelines.identity,
            "data": absolute_data(request.data),
            "data_content": self.data.provenance,
            "skip_unreadable": request.skip_unreadable,
            "recipe": self.recipe.name,
            "recipe_digest": self.recipe.digest,
            "recipe_document": recipe_to_document(self.recipe),
            **({EVALUATOR: dict(asked)} if (asked := self.evaluator.identity) else {}),
            **({} if request.train_on == "cpu" else {"train_on": request.train_on}),
            "seed": request.seed,
        }

    def training_order(self, request: Request, threads: int, checkpoints: Path) -> TrainingOrder:
        """What the nodes of a cluster are told of the trainings."""
        return TrainingOrder(
            self.evaluator,
            absolute_data(request.data),
            self.data.key,
            request.skip_unreadable,
            request.seed,
            threads,
            request.train_on,
            checkpoints.absolute(),
            versions(),
        )

    def describe(
        self,
        targets: Mapping[str, Target],
        request: Request,
        guidelines: Chosen,
        done: int,
        reference_ms: Mapping[str, float],
        certified: str,
    ) -> list[str]:
        """One fact a line, for people."""
        shown = ", ".join(f"{name} ({target.provenance})" for name, target in targets.items())
        data = self.data
        pruning, *more = guidelines.described
        audited = f"; {self.audit.share:.0%} of what they prune is audited"
        return [
            f"study     {self.study} in {without_password(request.storage)}"
            + (f", {done} of {request.trials} trials done" if done else ""),
            f"space     {self.space.name}, input {self.space.resolution}×{self.space.resolution}",
            f"budget    {self.budget.describe()}",
            f"prune by  {pruning}{audited if guidelines.limits.limits else ''}",
            *(f"          {line}" for line in more),
            f"targets   {shown}" + _PREDICTING[request.latency],
            *(
                f"          {name}: the reference network counts as {ms:.3f} ms, against drift"
                for name, ms in reference_ms.items()
            ),
            *(
                f"          {line}"
                for target in targets.values()
                if (line := trust_warning(target)) is not None
            ),
            f"data      {data.name}: {len(data.train):,} images to train, {len(data.val):,} to "
            f"validate, {data.classes} classes, {data.side}×{data.side}",
            *(f"          {note}" for note in data.notes),
            f"recipe    {self.recipe.name}, {self._seeds(request)}{_SCORING[self.recipe.score]}; "
            f"{certified}",
            *self.evaluator.described,
            *([EarlyStop.DESCRIBED] if request.stop_rule else []),
        ]

    def _seeds(self, request: Request) -> str:
        count = self.recipe.seeds
        if self.evaluator.seed is not None:
            return f"seed {self.evaluator.seed}"
        return f"seed {request.seed}" + (f", mean of {count} trainings" if count > 1 else "")


_SCORING = {
    "accuracy": "",
    "cross_entropy": "; compared by cross-entropy, not by accuracy",
    "training_speed": "; compared by the sum of training losses, not by accuracy",
}
_PREDICTING = {
    "measured": "",
    "predicted": "; latencies are predicted, those of the front measured at last",
    "auto": "; latencies are predicted first, and measured where that could decide",
}


def _study_name(request: Request, targets: list[str], evaluator: EvaluatorChoice) -> str:
    """`arm-140M-animals-quick`: so that repeating a command goes on with its study."""
    data = request.data.partition(":")[0]
    space = [Path(request.space).stem] if request.space else []
    words = [*targets, *request.budgets, *space, data, evaluator.short_name]
    words += ["unguided"] if request.guidelines == "off" else []
    words += ["measured"] if request.guidelines == "measured" else []
    words += [request.latency] if request.latency != "measured" else []
    words += [f"seed{request.seed}"] if request.seed else []
    return "-".join(word.replace("=", "") for word in words)
