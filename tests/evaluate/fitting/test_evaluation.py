import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation

SHARES = st.floats(0, 1)
NATS = st.floats(0, 1e9)
EPOCHS = st.builds(Epoch, NATS, SHARES, st.none() | SHARES, st.none() | NATS)
EVALUATIONS = st.builds(
    Evaluation,
    accuracy=SHARES,
    loss=NATS,
    seconds=NATS,
    images_per_second=NATS,
    stopped=st.none() | st.text(),
    history=st.lists(EPOCHS, max_size=3).map(tuple),
)


@given(EVALUATIONS)
def test_json_gives_back_what_it_was_made_of(evaluation: Evaluation) -> None:
    text = evaluation.to_json()
    assert Evaluation.from_json(text) == evaluation
    assert "\n" not in text


@pytest.mark.parametrize(
    ("by", "shown"),
    [("accuracy", "±14.14%"), ("lab:f", "±0.1414"), ("cross_entropy", "±0.1414")],
)
def test_the_spread_has_the_unit_of_the_score(by: str, shown: str) -> None:
    assert Evaluation(0.5, scored_by=by, scores=(0.2, 0.4)).describe_spread() == shown


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"history": [1]}', '{"history": []}'])
def test_what_is_no_evaluation_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match="not a stored evaluation"):
        Evaluation.from_json(text)


def test_an_unknown_field_is_refused() -> None:
    evaluation = Evaluation(0.5, 1, "r", "d", "a@k", 0, "cpu", 1, 1, 1, 1, 1)
    fields = json.loads(evaluation.to_json()) | {"colour": "red"}
    with pytest.raises(EvaluationError, match="colour"):
        Evaluation.from_json(json.dumps(fields))


def test_values_and_recipes_do_not_load_torch() -> None:
    code = (
        "import sys, nas_sv2.evaluate.fitting.evaluation, nas_sv2.evaluate.recipes.recipe\n"
        "assert not {'torch', 'torchvision', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
