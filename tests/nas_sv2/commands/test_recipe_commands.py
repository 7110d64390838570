import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas_sv2.cli import app
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_from_document


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_built_in_recipes_are_listed() -> None:
    shown = said("recipe", "list")
    assert all(name in shown for name in RECIPES)
    assert shown.count("full training") == 3
    documents = json.loads(said("recipe", "list", "--json"))
    assert [recipe_from_document(each) for each in documents] == list(RECIPES.values())


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_shown_is_a_file_to_start_from(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(said("recipe", "show", name))
    assert open_recipe(str(tmp_path / "mine.yaml")) == RECIPES[name]


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^recipe must .*; got 'fast'"):
        CliRunner().invoke(app, ["recipe", "show", "fast"], catch_exceptions=False)


def test_a_search_refuses_a_full_training_before_it_opens_data() -> None:
    search = ["search", "--target", "arm", "--recipe", "megvii", "--data", "imagefolder:/nowhere"]
    with pytest.raises(
        ConfigError, match=r"validation_resize, raw_input, norm_steps; got 'megvii'"
    ):
        CliRunner().invoke(app, search, catch_exceptions=False)
