"""An export whose weights were not kept trains as the study did."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from packages import RECIPE, data_in

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.studies.findings.attributes import IDENTITY, THREADS
from nas_sv2.studies.package.build import setting_of
from nas_sv2.studies.storage.places import evaluator_of


def study_with(threads: int = 1, **changes: Any) -> optuna.Study:
    study = optuna.create_study()
    identity = {
        "recipe_document": recipe_to_document(RECIPE),
        "recipe_digest": RECIPE.digest,
        "seed": 0,
    }
    study.set_user_attr(IDENTITY, identity | changes)
    study.set_user_attr(THREADS, threads)
    return study


@pytest.mark.parametrize("threads", [1, 2])
def test_it_uses_as_many_threads_as_the_study(tmp_path: Path, threads: int) -> None:
    """The last digits depend on them, and it is refused where they differ."""
    study = study_with(threads)
    training = evaluator_of(study).open(data_in(tmp_path), setting_of(study))
    assert training.place == f"cpu, {threads} threads"
    assert training.recipe == RECIPE


def test_a_recipe_that_has_changed_is_refused() -> None:
    with pytest.raises(EvaluationError, match="is not that of the study any more"):
        evaluator_of(study_with(recipe_digest="0" * 16))


def test_an_evaluator_of_the_user_s_has_no_weights_to_export() -> None:
    study = study_with(evaluator={"object": "my table"})
    said = "evaluator of the study must give weights: .* accuracies alone; got 'my table'"
    with pytest.raises(ConfigError, match=said):
        evaluator_of(study)
