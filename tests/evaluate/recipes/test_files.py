from pathlib import Path

import pytest
import yaml

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluator import check_trainable
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_from_document, recipe_to_yaml
from nas_sv2.evaluate.recipes.recipe import Recipe


def written(folder: Path, text: str) -> str:
    file = folder / "mine.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_shown_is_read_back(name: str, tmp_path: Path) -> None:
    assert open_recipe(name) is RECIPES[name]
    assert open_recipe(written(tmp_path, recipe_to_yaml(RECIPES[name]))) == RECIPES[name]


def test_a_file_gives_its_name_and_defaults_for_what_it_leaves_out(tmp_path: Path) -> None:
    text = "nas_sv2_recipe: 1\nepochs: 3\nweight_decay: 4e-5\nscore: cross_entropy\n"
    read = open_recipe(written(tmp_path, text))
    assert read == Recipe("mine", 3, weight_decay=4e-5, score="cross_entropy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3", r"mine.yaml: nas_sv2_recipe .*from 1 to 1.*; got None"),
        ("nas_sv2_recipe: 2\nepochs: 3", r"nas_sv2_recipe must .* from a newer nas-sv2; got 2"),
        ("nas_sv2_recipe: 1", r"mine.yaml: epochs .*no default.*; got None"),
        (
            "nas_sv2_recipe: 1\nepochs: 3\nepoch: 4",
            r"mine.yaml: epoch .*one of the keys name.*; got 4",
        ),
        ("nas_sv2_recipe: 1\nepochs: three", r"mine.yaml: epochs must .*; got 'three'"),
        (
            "nas_sv2_recipe: 1\nepochs: 3\nlearning_rate: fast",
            r"learning_rate .*; got 'fast'",
        ),
        ("nas_sv2_recipe: 1\nepochs: 3\nfull_training: 4", r"full_training .*a mapping.*; got 4"),
        (
            "nas_sv2_recipe: 1\nepochs: 3\nfull_training: {cutout: 1}",
            r"full_training.cutout must be one of the keys validation_resize.*; got 1",
        ),
        ("- 3", r"a mapping that starts with nas_sv2_recipe: 1"),
        ("epochs: [", r"YAML or JSON of plain data"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        open_recipe(written(tmp_path, text))


def test_neither_a_name_nor_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe .*smoke, quick, standard, long.*; got 'fast'"):
        open_recipe("fast")
    with pytest.raises(ConfigError, match="readable file"):
        open_recipe(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("name", ["paper", "megvii", "torchvision-new"])
def test_full_trainings_are_refused_as_recipes_of_a_search(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"recipe .*validation_resize.*; got '{name}'"):
        check_trainable(RECIPES[name])


def test_half_precision_needs_a_gpu() -> None:
    document = yaml.safe_load("{nas_sv2_recipe: 1, epochs: 1, precision: fp16}")
    half = recipe_from_document(document, "half")
    with pytest.raises(ConfigError, match=r"precision .*; got 'fp16'"):
        check_trainable(half)
    check_trainable(half, "cuda")
