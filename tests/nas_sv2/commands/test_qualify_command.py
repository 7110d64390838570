"""`nas-sv2 recipe qualify` with real trainings, and what a search then says of its recipe."""

from collections.abc import Callable
from pathlib import Path

import pytest

SPACE = str(Path(__file__).parents[3] / "docs" / "lab" / "certificates" / "space.yaml")
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_a_recipe_is_qualified_and_a_search_with_it_says_so(
    command_line: Run, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "nas_sv2_recipe: 1\nepochs: 1\nimages_per_epoch: 320\nvalidation_images: 200\nbatch: 16\n"
    )
    search = (
        *("search", "--target", "arm", "--space", SPACE, "--recipe", str(recipe)),
        *("--trials", "2", "--guidelines", "off", "--study", "s", "--workers", "1"),
    )
    code, out, err = command_line(*search)
    assert code == 0, err
    assert "not certified" in out
    code, out, err = command_line(
        *("recipe", "qualify", "--recipe", str(recipe), "--space", SPACE, "--out", "tiny.md"),
        *("--trajectories", "1", "--matched", "3", "--workers", "1"),
    )
    assert code == 0, err
    assert "44 trainings, 0 of them known" in err
    assert out == (tmp_path / "tiny.md").read_text()
    assert out.startswith("# How well `tiny` ranks")
    code, out, err = command_line("front", "s")
    assert code == 0, err
    assert "not certified" not in out
    assert "; certified on animals@" in out


def test_a_page_in_a_folder_that_is_not_there_is_refused_at_once(command_line: Run) -> None:
    code, _, err = command_line("recipe", "qualify", "--out", "nowhere/page.md")
    assert code == 2
    assert err.startswith("nas-sv2: --out must") and err.endswith("got 'nowhere/page.md'\n")
