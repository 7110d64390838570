"""A search, planned: every word is understood, validated and described; nothing is opened yet."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.documents import Name, Positive, Seed, check_value
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.evaluators import RECIPE
from nas_sv2.evaluate.fitting.determinism import check_workers, has_gpu
from nas_sv2.evaluate.fitting.evaluation import FIGURES
from nas_sv2.evaluate.fitting.evaluator import (
    DataSet,
    Evaluator,
    EvaluatorChoice,
    Setting,
    trained_form,
)
from nas_sv2.evaluate.fitting.validation import describe_balance, describe_counts
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.latency.targets.book import MODULES, TargetBook
from nas_sv2.latency.targets.doctor import trust_warning
from nas_sv2.latency.targets.target import Target
from nas_sv2.latency.targets.user_target import LatencySource
from nas_sv2.passwords import masked
from nas_sv2.resolution import Resolution, in_pixels
from nas_sv2.search.asking.samplers import SAMPLERS, SamplerChoice
from nas_sv2.search.session.detection import (
    CLASSIFICATION,
    DATA,
    backbone,
    choose_trainer,
    describe_boxes,
    describe_detector,
    detector_space,
    open_boxes,
    read_detector,
)
from nas_sv2.search.session.guidelines import Chosen, check_choice
from nas_sv2.search.session.timed_input import (
    TimedInput,
    as_typed,
    describe_level,
    read_input,
)
from nas_sv2.search.session.warm_start import Start, read_start, typed_start
from nas_sv2.search.walk.audit import SHARE, Audit
from nas_sv2.search.walk.budget import Budget, parse_duration, read_budget
from nas_sv2.search.walk.early_stop import EarlyStop, check_stop_rule
from nas_sv2.search.walk.predict_first import check_mode
from nas_sv2.space.choices.extremes import smallest
from nas_sv2.space.choices.levels import LEVELS, nearest_level
from nas_sv2.space.choices.search_space import SearchSpace, space_to_document
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.space.runtimes.memory_plan import PLANNED
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.attributes import EVALUATOR, TIMED_AND_TRAINED, WARM_START
from nas_sv2.studies.findings.timed_and_trained import Form, TimedAndTrained
from nas_sv2.studies.storage.places import absolute_data
from nas_sv2.studies.storage.study import limits_of

if TYPE_CHECKING:  # imports torchvision
    from nas_sv2.evaluate.detection.detector import DetectorForm

MOST_POSTGRESQL = 2**31 - 1  # its whole numbers have 32 bits with a sign
DEFAULT_FLOPS = 140e6  # the level of the paper's 1× network, if no FLOPs are budgeted
_IN_FORM = {"fp32": "", "int8": "; accuracies of the int8 form, calibrated on training images"}
_PREDICTING = {
    "measured": "",
    "predicted": "; latencies are predicted, those of the front measured at last",
    "auto": "; latencies are predicted first, and measured where that could decide",
}
AS_TYPED = (
    *("data", "sampler", "trials", "seed", "study", "storage", "guidelines", "stop_rule"),
    *("latency", "require_measured", "skip_unreadable", "workers", "train_on", "ray"),
    "warm_start",
)
"""Fields of a plan that are the words of the command line."""


@dataclass(frozen=True)
class SearchPlan:
    """Everything that a search is to do; it is sent to worker processes as it is.

    Attributes:
        book: The targets by name, the user's objects among them.
        targets: The names of those whose latency counts.
        budget: Upper limits.
        space: The space that is sampled; a level may wait for the data (`at_timed_input`).
        timed_input: The input of the level; None if the space says it, or it is known.
        evaluator: The evaluator of the candidates' scores.
        data: The images, in the user's words.
        sampler: A key of `SAMPLERS`.
        trials: Finished candidates to reach.
        timeout_s: No trial begins after it; None for no limit.
        seed: The seed of sampler and trainings.
        study: The name of the study.
        storage: The URL of the database.
        guidelines: `measured`, `paper`, `off`, or None for as the study began.
        audit: The pruned candidates that are trained and timed all the same.
        stop_rule: Whether trainings that promise little growth of the front are ended.
        latency: `measured`, `auto` or `predicted`.
        require_measured: Whether targets that do not run networks are refused.
        skip_unreadable: Whether images that cannot be read are left out.
        workers: Candidates at the same time; None for as many as `search` chooses.
        train_on: `cpu` or `cuda`.
        ray: The address of a Ray cluster, or None.
        warm_start: Another study, whose front is asked first and whose trainings inform; or None.
        start: Networks of the user's own that are asked before these, points of the space.
        words: The plan as it is typed: the options of `nas-sv2 search`, defaults too.
        detector: The detector whose backbone is searched; None for a search of classifiers.
    """

    book: TargetBook
    targets: tuple[str, ...]
    budget: Budget
    space: SearchSpace
    timed_input: TimedInput | None
    evaluator: EvaluatorChoice
    data: str
    sampler: str
    trials: int
    timeout_s: float | None
    seed: int
    study: str
    storage: str = field(repr=False)
    guidelines: str | None
    audit: Audit
    stop_rule: bool
    latency: str
    require_measured: bool
    skip_unreadable: bool
    workers: int | None
    train_on: str
    ray: str | None
    warm_start: str | None
    start: tuple[Architecture, ...]
    words: Mapping[str, Any] = field(repr=False)
    detector: "DetectorForm | None" = None

    @property
    def recipe(self) -> Recipe:
        """The recipe that evaluations record."""
        return self.evaluator.recipe

    @property
    def sampling(self) -> SamplerChoice:
        """How the sampler is made and fed."""
        return SAMPLERS[self.sampler]

    def open_data(self, notify: Callable[[str], None]) -> DataSet:
        """Open the images, as the evaluator takes them: `ImageData`, or `SceneData` of a detector.

        Args:
            notify: Is called with a line before a long step.

        Raises:
            ConfigError: There are no such data, or the evaluator cannot use them.
            EvaluationError: They cannot be read.
        """
        data = self._opened(notify)
        trainer = self.evaluator.open(data, Setting(device=self.train_on))
        trainer.adapt(smallest(self.space))  # all of a space have one total stride
        return data

    def _opened(self, notify: Callable[[str], None]) -> DataSet:
        if self.detector is not None:
            backbone(self.detector, smallest(self.space))  # refuses images that are too small
            return open_boxes(self.data, notify)
        return open_data(
            self.data,
            resolution=self.recipe.resolution,
            skip_unreadable=self.skip_unreadable,
            notify=notify,
            numbers=self.recipe.numbers,
        )

    def at_timed_input(self, data: DataSet) -> "SearchPlan":
        """Return the plan with its level at the input that is timed.

        Raises:
            ConfigError: The level cannot take that input, or a network of the user's own lies
                outside it.
        """
        if self.timed_input is None:
            return self
        assert isinstance(data, ImageData), "a detector says its own input"
        recipe = self.recipe if self.evaluator.trains else None
        space = self.timed_input.space(self.space, recipe, data)
        return dataclasses.replace(self, space=space, start=read_start(self.start, space))

    def identity(
        self, targets: Mapping[str, Target], guidelines: Chosen, data: DataSet
    ) -> dict[str, Any]:
        """Return the settings that all trials of the study depend on."""
        modules = self.book.modules(targets)
        return {
            "space": self.space.name,
            "space_digest": self.space.digest,
            "space_document": space_to_document(self.space),
            "targets": {name: target.provenance for name, target in targets.items()},
            **({MODULES: modules} if modules else {}),
            "latency": self.latency,
            "budget": self.budget.to_json(),
            "guidelines": guidelines.identity,
            "data": absolute_data(self.data),
            "data_content": data.provenance,
            "skip_unreadable": self.skip_unreadable,
            "recipe": self.recipe.name,
            "recipe_digest": self.recipe.digest,
            "recipe_document": recipe_to_document(self.recipe),
            **_forms_in(self, data),
            **({EVALUATOR: dict(asked)} if (asked := self.evaluator.identity) else {}),
            **({} if self.train_on == "cpu" else {"train_on": self.train_on}),
            **({} if self.warm_start is None else {WARM_START: self.warm_start}),
            "seed": self.seed,
        }


def plan_search(
    targets: str | Sequence[str | LatencySource],
    budgets: Sequence[str] | Budget = (),
    *,
    space: str | SearchSpace | None = None,
    input: str | None = None,
    data: str | None = None,
    task: str = CLASSIFICATION,
    head: str | None = None,
    recipe: str | None = None,
    sampler: str = "ehvi",
    trials: int = 24,
    timeout: str | None = None,
    seed: int = 0,
    study: str | None = None,
    storage: str = DEFAULT_STORAGE,
    tolerance: float = 0.05,
    guidelines: str | None = None,
    audit: float = SHARE,
    stop_rule: bool | None = None,
    latency: str = "measured",
    require_measured: bool = False,
    skip_unreadable: bool = False,
    evaluator: str | Evaluator = RECIPE,
    workers: int | None = 1,
    train_on: str = "cpu",
    ray: str | None = None,
    warm_start: str | None = None,
    start: Start | Sequence[Start] = (),
) -> SearchPlan:
    """Understand and validate a search; nothing is opened and nothing is written.

    The arguments are the options of `nas-sv2 search`. A target, a budget, a space, an evaluator
    and a network to start with may be objects too.

    Raises:
        ConfigError: A value is not allowed.
    """
    words = dict(locals())
    _check_numbers(workers, trials, seed, storage, ray)
    _check_choices(latency, guidelines, sampler)
    book, names, typed_targets = _read_targets(targets)
    budget = _with_runtimes(read_budget(budgets, names, tolerance), book, names)
    timeout_s = None if timeout is None else parse_duration("timeout", timeout)
    detector = read_detector(words)
    words |= {"data": DATA[task] if data is None else data}
    words |= {"head": None if detector is None else detector.head}
    chosen = choose_trainer(evaluator, recipe, detector)
    _check_training(chosen, train_on, ray, bool(stop_rule))
    if stop_rule is None:
        words["stop_rule"] = chosen.trains and chosen.recipe.epochs > 1 and detector is None
    limits = list(budgets) if not isinstance(budgets, Budget) else _words_of(budgets)
    typed = space.name if isinstance(space, SearchSpace) else space
    words |= {"targets": typed_targets, "budgets": limits, "space": typed}
    words |= {"evaluator": chosen.words}
    words["study"] = _study_name(names, words, chosen) if study is None else study
    check_value("study", words["study"], Name)
    if warm_start == words["study"]:
        raise ConfigError("warm_start", warm_start, "must be another study than this")
    chosen_space, timed_input = _choose_space(space, chosen, budget, input, detector)
    own = read_start(start, chosen_space)
    words["start"] = typed_start(start)
    return SearchPlan(
        book=book,
        targets=tuple(names),
        budget=budget,
        space=chosen_space,
        timed_input=timed_input,
        start=own,
        evaluator=chosen,
        timeout_s=timeout_s,
        audit=Audit(audit),
        words=words,
        detector=detector,
        **{field: words[field] for field in AS_TYPED},
    )


def _check_numbers(
    workers: int | None, trials: int, seed: int, storage: str, ray: str | None
) -> None:
    if ray is None:
        check_workers(workers)
    check_value("workers", workers, Positive | None)
    check_value("trials", trials, Positive)
    check_value("seed", seed, Seed)
    if seed > MOST_POSTGRESQL and storage.startswith("postgresql"):
        raise ConfigError("seed", seed, f"must be at most {MOST_POSTGRESQL} with PostgreSQL")


def _check_choices(latency: str, guidelines: str | None, sampler: str) -> None:
    check_mode(latency)
    check_choice(guidelines)
    if sampler not in SAMPLERS:
        raise ConfigError("sampler", sampler, "must be one of " + ", ".join(SAMPLERS))


def _check_training(
    chosen: EvaluatorChoice, train_on: str, ray: str | None, stop_rule: bool
) -> None:
    chosen.check_device(train_on)
    if train_on == "cuda" and ray is None and not has_gpu():
        raise ConfigError("device", train_on, "must be cpu: torch sees no GPU on this machine")
    chosen.check_stop_rule(stop_rule)
    check_stop_rule(stop_rule, chosen.recipe)


def _read_targets(
    targets: str | Sequence[str | LatencySource],
) -> tuple[TargetBook, list[str], str]:
    """The book with the user's objects in it, the names in their order, and how they are typed."""
    book = TargetBook.read()
    if isinstance(targets, str):
        return book, book.names(targets), targets
    typed = ",".join(each if isinstance(each, str) else book.add(each) for each in targets)
    return book, book.names(typed), typed


def _choose_space(
    space: str | SearchSpace | None,
    evaluator: EvaluatorChoice,
    budget: Budget,
    deployed: str | None,
    detector: "DetectorForm | None",
) -> tuple[SearchSpace, TimedInput | None]:
    """Choose the space, and the input of a level that the data or the user decide."""
    if detector is not None:
        return detector_space(space, detector, budget, DEFAULT_FLOPS), None
    asked = None if deployed is None else read_input(deployed)
    if isinstance(space, SearchSpace):
        if evaluator.choose_space(None, space).digest != space.digest:
            raise ConfigError("space", space.name, "must be the evaluator's space, or be left out")
        return _moved(space, evaluator, asked), None
    found = evaluator.choose_space(space, nearest_level(budget.flops or DEFAULT_FLOPS))
    if evaluator.space is not None or space not in (None, *LEVELS):
        return _moved(found, evaluator, asked), None
    if asked is not None:
        return found, TimedInput(asked, budget.flops if space is None else None)
    own = space is None and not budget.flops and evaluator.trains
    return found, TimedInput(None, None) if own else None


def _moved(
    space: SearchSpace, evaluator: EvaluatorChoice, asked: tuple[Resolution, int] | None
) -> SearchSpace:
    """Return a space of the user's at the input that was asked for; its stem stays."""
    if asked is None:
        return space
    moved = dataclasses.replace(space, resolution=asked[0], channels=asked[1])
    if evaluator.choose_space(None, moved).digest != moved.digest:
        allowed = "must be that of the evaluator's space, or left out"
        raise ConfigError("input", as_typed(*asked), allowed)
    return moved


def _with_runtimes(budget: Budget, book: TargetBook, targets: Sequence[str]) -> Budget:
    """Let a limit on memory be that of the runtimes of the targets.

    Raises:
        ConfigError: A target runs something else than one image in float32, or in another runtime.
    """
    if budget.memory_bytes is None:
        return budget
    known = {name: way for name, way in book.executions(targets).items() if way is not None}
    for name, way in known.items():
        if way.runtime not in PLANNED or (way.precision, way.batch) != ("fp32", 1):
            runs = f"{way.runtime}, {way.precision}, batch {way.batch}"
            allowed = f"must be left out with {name} ({runs}): memory is known of one image in "
            allowed += f"float32, in {' and '.join(PLANNED)}"
            raise ConfigError("budget", memory_in_words(budget.memory_bytes), allowed)
    runtimes = tuple(dict.fromkeys(way.runtime for way in known.values()))
    return dataclasses.replace(budget, runtimes=runtimes or budget.runtimes)


def _words_of(budget: Budget) -> list[str]:
    return limits_of(budget.to_json())


def _study_name(
    targets: Sequence[str], words: Mapping[str, Any], evaluator: EvaluatorChoice
) -> str:
    """Name a study as `arm-140M-animals-quick`, so that repeating a command resumes it."""
    space = [] if words["space"] is None else [Path(words["space"]).stem]
    space += [words["input"]] if words["input"] else []
    parts = [*targets, *words["budgets"], *space, _short_name(words["data"]), evaluator.short_name]
    parts += ["unguided"] if words["guidelines"] == "off" else []
    parts += ["measured"] if words["guidelines"] == "measured" else []
    parts += [words["latency"]] if words["latency"] != "measured" else []
    parts += [f"from-{words['warm_start']}"] if words["warm_start"] else []
    parts += [f"seed{words['seed']}"] if words["seed"] else []
    return "-".join(part.replace("=", "").replace(" ", "") for part in parts)


def _short_name(data: str) -> str:
    """Name a data set: `animals`, or `photos-1f3a5c` for the folder or file `photos`.

    The digits are a digest of the place, since folders of several projects have one name. A fit
    other than `crop` is added.
    """
    kind, _, place = absolute_data(data).partition(":")
    if not place:
        return kind
    fit = kind.partition("+")[2]
    digits = hashlib.sha256(place.encode()).hexdigest()[:6]
    return "-".join([Path(place).stem, digits, *([fit] if fit else [])])


def describe_search(
    plan: SearchPlan,
    data: DataSet,
    targets: Mapping[str, Target],
    guidelines: Chosen,
    done: int,
    reference_ms: Mapping[str, float],
    certified: str,
) -> list[str]:
    """Describe a search that is open.

    Args:
        plan: The search.
        data: Its images.
        targets: Its targets, open.
        guidelines: Those that it prunes by.
        done: The finished trials of its study.
        reference_ms: The time of the reference network, by target that is corrected for drift.
        certified: The words of the recipe's certificate.
    """
    recipe = plan.recipe
    shown = ", ".join(f"{name} ({target.provenance})" for name, target in targets.items())
    pruning, *more = guidelines.described
    audited = f"; {plan.audit.share:.0%} of what they prune is audited"
    return [
        f"study     {plan.study} in {masked(plan.storage)}"
        + (f", {done} of {plan.trials} trials done" if done else ""),
        *_space_lines(plan, data),
        *(
            f"          {line}"
            for line in describe_level(plan.space, plan.budget, targets)
            if plan.words["space"] is None and plan.evaluator.space is None
        ),
        f"budget    {plan.budget.describe()}",
        f"prune by  {pruning}{audited if guidelines.limits.limits else ''}",
        *(f"          {line}" for line in more),
        f"targets   {shown}" + _PREDICTING[plan.latency],
        *(
            f"          {name}: the reference network counts as {ms:.3f} ms, against drift"
            for name, ms in reference_ms.items()
        ),
        *(
            f"          {line}"
            for target in targets.values()
            if (line := trust_warning(target)) is not None
        ),
        *_data_lines(plan, data),
        f"recipe    {recipe.name}, {_seeds(plan)}{_scoring(recipe, data)}; {certified}",
        *describe_precision(plan),
        *(
            [f"workers   {plan.workers}; the seed repeats the candidates with --workers 1 alone"]
            if plan.workers != 1
            else []
        ),
        *plan.evaluator.described,
        *([EarlyStop.DESCRIBED] if plan.stop_rule else []),
    ]


def _data_lines(plan: SearchPlan, data: DataSet) -> list[str]:
    """Describe the images."""
    if not isinstance(data, ImageData):
        return describe_boxes(data)
    return [
        f"data      {data.name}: {len(data.train):,} images to train, {len(data.val):,} to "
        f"validate, {data.describe_labels()}, {in_pixels(data.resolution)}",
        *(f"          {note}" for note in (*data.notes, *describe_balance(data.val, data))),
        *(
            f"          {note}"
            for note in describe_counts(data.train.labels, data.class_names, plan.recipe)
            if plan.evaluator.trains
        ),
    ]


def _space_lines(plan: SearchPlan, data: DataSet) -> list[str]:
    """Describe the space, and what of it is timed and trained."""
    if plan.detector is not None:
        return [f"space     {plan.space.name}", *describe_detector(plan.detector)]
    assert isinstance(data, ImageData), "the images of classifiers"
    size = f"{in_pixels(plan.space.resolution)}×{plan.space.channels}"
    return [
        f"space     {plan.space.name}, input {size}",
        f"          {forms_of(plan, data).describe(facts_of(FIGURES[data.kind]))}",
        *(f"          {line}" for line in _why_timed(plan, data)),
    ]


def _why_timed(plan: SearchPlan, data: ImageData) -> list[str]:
    """Say why that input is timed, or how to time the network that is trained."""
    if plan.timed_input is not None and (why := plan.timed_input.describe(plan.space, data)):
        return why
    enlarged = data.picture_side is None or data.picture_side <= data.shorter_side
    can_be_same = plan.space in LEVELS.values() and enlarged and plan.recipe.width_factor == 1
    if not can_be_same or not forms_of(plan, data).is_proxy:
        return []
    return [
        f"--input {as_typed(data.resolution, data.channels)} times the network that is trained"
    ]


def forms_of(plan: SearchPlan, data: ImageData) -> TimedAndTrained:
    """Return what is timed and what is trained."""
    timed, recipe = Form.of(plan.space), plan.recipe
    if plan.evaluator.weights_by is None:
        return TimedAndTrained(timed, None)
    some = smallest(plan.space)
    trained = trained_form(some, recipe, data.resolution, data.channels, data.classes)
    return TimedAndTrained(timed, Form.of(trained, recipe.width_factor))


def _forms_in(plan: SearchPlan, data: DataSet) -> dict[str, Any]:
    """Return the forms for an identity; a detector's is that of its evaluator."""
    if not isinstance(data, ImageData):
        return {}
    return {TIMED_AND_TRAINED: forms_of(plan, data).to_json()}


def _scoring(recipe: Recipe, data: DataSet) -> str:
    form = _IN_FORM[recipe.score_form]
    if recipe.score == "accuracy":
        return form
    if not isinstance(data, ImageData):
        return f"; compared by {facts_of(recipe.score).name}"
    figure, score = (facts_of(each).name for each in (FIGURES[data.kind], recipe.score))
    return f"; compared by {score}" + ("" if score == figure else f", not by {figure}") + form


def describe_precision(plan: SearchPlan) -> list[str]:
    """Say which targets time networks of another precision than the one that is compared."""
    compared = plan.recipe.score_form
    ways = plan.book.executions(plan.targets)
    timed = {name: way.precision for name, way in ways.items() if way is not None}
    return [
        f"          accuracies are of {compared} networks, the latencies of {name} of {precision}"
        for name, precision in timed.items()
        if precision != compared and "int8" in (precision, compared)
    ]


def _seeds(plan: SearchPlan) -> str:
    count = plan.recipe.seeds
    if plan.evaluator.seed is not None:
        return f"seed {plan.evaluator.seed}"
    return f"seed {plan.seed}" + (f", mean of {count} trainings" if count > 1 else "")
