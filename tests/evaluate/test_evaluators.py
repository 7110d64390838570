"""Our evaluators and a user's pass the same tests and go into a search in the same way."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_spaces import SMALL

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.evaluators import choose_evaluator, find_evaluator
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.fitting.evaluator import Evaluator, Setting
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.trained import SupernetEvaluator, open_supernet, save_supernet
from nas_sv2.evaluate.supernet.training import SupernetTraining
from nas_sv2.space.choices.extremes import smallest
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import EvaluatorTests

EXAMPLES = Path(__file__).parents[1] / "examples"
RECIPE = Recipe("tiny", 1, batch=20, images_per_epoch=40, norm_images=20)


@pytest.fixture(scope="module")
def folder(blobs: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a trained supernet."""
    folder = tmp_path_factory.mktemp("supernet")
    how = SupernetTraining(SMALL, RECIPE, blobs, Guidelines({}), threads=1)
    save_supernet(folder, how, how.train())
    return folder


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples, in the folder that a command runs in."""
    monkeypatch.chdir(EXAMPLES)
    path = list(sys.path)
    yield
    sys.path[:] = path


class TestProxyTraining(EvaluatorTests):
    @pytest.fixture
    def evaluator(self, blobs: ImageData) -> Evaluator:
        return ProxyTraining(RECIPE, blobs, threads=1)

    @pytest.fixture
    def architecture(self, tiny: Architecture) -> Architecture:
        return tiny


class TestSupernetEvaluator(EvaluatorTests):
    @pytest.fixture
    def evaluator(self, folder: Path, blobs: ImageData) -> Evaluator:
        return SupernetEvaluator(open_supernet(folder), blobs, threads=1)

    @pytest.fixture
    def architecture(self) -> Architecture:
        return smallest(SMALL)


class Fixed:
    """Says what it is told."""

    name = "fixed"

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def evaluate(self, architecture: Architecture) -> Evaluation:
        return self.answer  # type: ignore[return-value]


def test_an_object_s_evaluation_is_filled_in(blobs: ImageData, tiny: Architecture) -> None:
    choice = choose_evaluator(Fixed(Evaluation(0.5)), None)
    trained = choice.open(blobs, Setting(seed=3)).train(tiny)
    found = trained.evaluation
    assert (found.accuracy, found.loss, found.score) == (0.5, None, 0.5)
    assert (found.recipe, found.recipe_digest) == ("fixed", choice.recipe.digest)
    assert (found.data, found.seed) == (blobs.provenance, 3)
    assert found.seconds > 0
    assert trained.weights == {}
    assert Evaluation.from_json(found.to_json()) == found


@pytest.mark.parametrize("answer", [None, 0.5, "0.5", (0.5,)])
def test_an_object_that_gives_no_evaluation_fails_the_trial(
    answer: object, blobs: ImageData, tiny: Architecture
) -> None:
    trainer = choose_evaluator(Fixed(answer), None).open(blobs, Setting())
    with pytest.raises(EvaluationError, match="evaluator fixed must give an Evaluation; got"):
        trainer.train(tiny)


NAN, INF = float("nan"), float("inf")
IMPOSSIBLE: dict[str, list[Any]] = {
    "accuracy": [NAN, INF, 1.0001, 93.0, -0.1, True, "0.5", None, np.float32(0.5), 10**400],
    "loss": [NAN, -INF, "1", True],
    "scores": [(NAN,), (0.5, INF), ("0.5",), 0.5, (True,), (None,)],
    "seconds": [NAN, INF, -1.0, "1"],
    "epochs": [-1, 1.5, True, "1", 10**30],
    "images_per_second": [NAN, INF, -1.0],
    "recipe": [None, 3, b"x"],
    "stopped": [3, True],
    "history": [0, (0.5,), ({"train_loss": 1.0},)],
}


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values]
)
def test_a_figure_that_cannot_be_fails_the_trial_and_is_named(
    field: str, value: Any, blobs: ImageData, tiny: Architecture
) -> None:
    class Wrong:
        name = "fixed"

        def evaluate(self, architecture: Architecture) -> Evaluation:
            return Evaluation(**{"accuracy": 0.5, field: value})

    trainer = choose_evaluator(Wrong(), None).open(blobs, Setting())
    with pytest.raises(EvaluationError, match=f"evaluator fixed: .*{field}") as refused:
        trainer.train(tiny)
    assert str(refused.value).isprintable()


def test_figures_of_numpy_are_figures(blobs: ImageData, tiny: Architecture) -> None:
    given = Evaluation(np.float64(0.5), np.float64(1.5))
    found = choose_evaluator(Fixed(given), None).open(blobs, Setting()).train(tiny).evaluation
    assert Evaluation.from_json(found.to_json()) == found


def test_an_object_is_named_by_module_and_attribute(examples: None, blobs: ImageData) -> None:
    choice = choose_evaluator("accuracy_table:AccuracyTable", None)
    assert choice.words == "accuracy_table:AccuracyTable"
    assert choice.identity == {"object": "published accuracies"}
    evaluation = choice.open(blobs, Setting()).train(reference("shufflenet_v2_x1_0")).evaluation
    assert (evaluation.accuracy, evaluation.data) == (0.694, "ImageNet")


@pytest.mark.parametrize(
    ("evaluator", "recipe", "said"),
    [
        ("oracle", None, "evaluator must be recipe, supernet:DIR or the module:attribute"),
        ("supernet", None, "evaluator must have its folder: supernet:DIR"),
        ("recipe:quick", None, "evaluator must be recipe"),
        (
            "no_such_module:Thing",
            None,
            "evaluator must be a module:attribute .*No module",
        ),
        ("accuracy_table:Missing", None, "evaluator must be a module:attribute .*Missing"),
        ("accuracy_table:lower", None, "evaluator must be a module:attribute .*called"),
        ("sys:exit", None, "evaluator must be a module:attribute .*SystemExit"),
        ("accuracy_table:AccuracyTable", "quick", "recipe must be left out beside evaluator"),
    ],
)
def test_what_is_no_evaluator_is_refused(
    evaluator: str, recipe: str | None, said: str, examples: None
) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_evaluator(evaluator, recipe)


def test_what_needs_trainings_of_ours_is_refused(folder: Path) -> None:
    own, asked = choose_evaluator(Fixed(0), None), choose_evaluator(f"supernet:{folder}", None)
    for choice in (own, asked):
        with pytest.raises(ConfigError, match="device must be cpu with evaluator"):
            choice.check_device("cuda")
        with pytest.raises(ConfigError, match="stop_rule must be off with evaluator"):
            choice.check_stop_rule(True)
        choice.check_device("cpu")
        choice.check_stop_rule(False)
    assert own.weights_by is None
    with pytest.raises(ConfigError, match="space must be the evaluator's space, small"):
        asked.choose_space("140M", SMALL)
    assert asked.choose_space(None, SMALL) == own.choose_space(None, SMALL) == SMALL


def test_the_evaluator_of_a_study_is_found_again(folder: Path, tmp_path: Path) -> None:
    quick = RECIPES["quick"]
    assert find_evaluator(quick, {}, None).recipe == quick
    asked = choose_evaluator(f"supernet:{folder}", None)
    again = find_evaluator(asked.recipe, asked.identity, asked.place)
    assert (again.recipe, again.place) == (asked.recipe, folder)
    for identity, place in (({"supernet": "0" * 16}, folder), (asked.identity, tmp_path)):
        with pytest.raises(ConfigError, match="supernet"):
            find_evaluator(asked.recipe, identity, place)
