"""A picture has the format that its name says."""

from pathlib import Path

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.studies.pages.picture_style import new_figure, write_picture

STARTS = {
    "p.png": b"\x89PNG",
    "p.PNG": b"\x89PNG",
    "p.pdf": b"%PDF",
    "p.svg": b"<?xml",
    "p": b"\x89PNG",
}


@pytest.mark.parametrize("name", STARTS)
def test_the_ending_is_the_format(name: str, tmp_path: Path) -> None:
    figure = new_figure(2, 2)
    figure.subplots().plot([1, 2])
    write_picture(figure, ["a caption"], tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(STARTS[name])


@pytest.mark.parametrize("name", ["p.jpg", "p.xyz", "p.html", "p.png.gz"])
def test_another_ending_is_refused_and_nothing_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"out must end with \.png or \.svg or \.pdf; got"):
        write_picture(new_figure(2, 2), [], tmp_path / name)
    assert list(tmp_path.iterdir()) == []
