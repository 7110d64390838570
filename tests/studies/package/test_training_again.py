"""An export whose weights were not kept trains as the study did."""

from pathlib import Path

import pytest
from packages import RECIPE, data_in

from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.studies.package.build import _training


@pytest.mark.parametrize("threads", [1, 2])
def test_it_uses_as_many_threads_as_the_study(tmp_path: Path, threads: int) -> None:
    """The last digits depend on them, and it is refused where they differ."""
    identity = {
        "recipe_document": recipe_to_document(RECIPE),
        "recipe_digest": RECIPE.digest,
        "seed": 0,
    }
    assert _training(identity, threads, data_in(tmp_path)).place == f"cpu, {threads} threads"
