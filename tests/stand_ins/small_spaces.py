"""Spaces to be sampled by hypothesis, and one that trains in a second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from strategies import SPLITS

from nas_sv2.space.choices.search_space import Range, SearchSpace, StageChoices

FLAGS = ((False,), (True,), (False, True))
SMALL = SearchSpace(
    "small",
    stem=((4,), (6, 8)),
    stages=(
        StageChoices(
            Range(1, 3),
            Range(12, 20, 4),
            (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)),
            (3, 5),
            (False, True),
            (False, True),
        ),
        StageChoices(Range(1, 2), Range(16, 32, 8), kernel=(3, 7), wide_field=(False, True)),
    ),
    head=Range(16, 32, 16),
    resolution=32,
    channels=1,
    classes=2,
)
"""For the two classes of the fixture `blobs`."""


@dataclass(frozen=True)
class Drawn:
    """Answers that hypothesis draws, and makes smaller where a test fails."""

    draw: Callable[[st.SearchStrategy[Any]], Any]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return low + step * int(self.draw(st.integers(0, (high - low) // step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(choices)))


@st.composite
def ranges(draw: st.DrawFn, low: int, high: int, step: int) -> Range:
    first = draw(st.integers(low, high))
    return Range(first, first + step * draw(st.integers(0, 6)), step)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Also such whose stages are all made wider, because what enters is as wide as they."""
    stems = st.lists(st.integers(3, 20), min_size=1, max_size=2).map(tuple)
    stages = [
        StageChoices(
            draw(ranges(1, 3, 1)),
            draw(ranges(8, 40, draw(st.integers(1, 8)))),
            tuple(draw(st.lists(st.sampled_from(SPLITS), min_size=1, max_size=3, unique=True))),
            draw(st.sampled_from([(3,), (5, 3), (3, 7)])),
            draw(st.sampled_from(FLAGS)),
            draw(st.sampled_from(FLAGS)),
            draw(st.sampled_from(FLAGS)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    stem = tuple(draw(st.lists(stems, min_size=1, max_size=2, unique=True)))
    return SearchSpace("drawn", stem, tuple(stages), draw(ranges(8, 24, 8)))
