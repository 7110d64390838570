"""A study belongs to the input that it times: resumed with the same, refused with another."""

from pathlib import Path
from typing import Any

import pytest

from nas_sv2.api.searching import search
from nas_sv2.api.study import Study
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.space.units.architecture import Architecture


class Wide:
    """Likes width, and takes no time."""

    name = "wide"

    def evaluate(self, architecture: Architecture) -> Evaluation:
        return Evaluation(architecture.stages[0].width / 1000)


def asked(folder: Path, trials: int = 2, **how: Any) -> Study:
    at = f"sqlite:///{folder / 's.db'}"
    return search("arm", evaluator=Wide(), study="s", storage=at, trials=trials, **how)


def test_the_same_input_resumes_and_another_is_refused_by_name(tmp_path: Path) -> None:
    first = asked(tmp_path, space="40M", input="64x64x1")
    assert {r.architecture.resolution for r in first.records.values()} == {64}
    more = asked(tmp_path, 3, space="40M", input="64x64x1")
    assert len(more.records) == 3
    inputs = ({"input": "96x96x1"}, "96x96x1"), ({"input": "64x96x1"}, "64x96x1")
    for other, named in (*inputs, ({}, "224x224x3")):
        with pytest.raises(ConfigError) as caught:
            asked(tmp_path, 4, space="40M", **other)
        said = str(caught.value)
        assert f"this one was begun with input 64x64x1, not {named};" in said
        assert len(said.splitlines()) == 1
    assert len(more.records) == 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_emulated_core_prices_one_to_four_channels(channels: int, tmp_path: Path) -> None:
    found = asked(tmp_path, 1, space="40M", input=f"32x32x{channels}")
    (record,) = found.records.values()
    assert record.architecture.channels == channels
    assert record.latencies["arm"].ms > 0
