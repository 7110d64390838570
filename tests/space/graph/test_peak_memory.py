import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.graph.peak_memory import (
    PeakMemory,
    Step,
    memory_in_words,
    most_alive,
    peak_memory_of,
)
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

SIZES = dict.fromkeys("abcd", 10)


def test_values_that_nobody_reads_any_more_are_gone() -> None:
    steps = [Step("one", "a", "b"), Step("two", "b", "c"), Step("three", "c", "d")]
    assert most_alive(steps, SIZES, "a", "d") == (20, "one")


def test_a_shortcut_stays_alive() -> None:
    steps = [Step("one", "a", "b"), Step("two", "b", "c"), Step("sum", "ac", "d")]
    assert most_alive(steps, SIZES, "a", "d") == (30, "two")
    steps[-1] = Step("sum", "ac", "d", in_place=True)
    assert most_alive([steps[0], steps[2]], SIZES, "ac", "d") == (30, "one")


def test_in_place_needs_an_input_of_that_size_that_is_not_read_again() -> None:
    relu = Step("relu", "a", "b", in_place=True)
    assert most_alive([relu], SIZES, "a", "b") == (10, "relu")
    assert most_alive([relu], {"a": 20, "b": 10}, "a", "b") == (30, "relu")
    assert most_alive([relu, Step("again", "ab", "c")], SIZES, "a", "c") == (30, "again")
    assert most_alive([relu], SIZES, "a", "ab") == (20, "relu")


def test_a_view_is_its_source_as_long_as_either_is_read() -> None:
    steps = [Step("flat", "a", "b", view=True), Step("one", "b", "c"), Step("two", "ac", "d")]
    assert most_alive(steps, SIZES, "a", "d") == (30, "two")
    assert most_alive(steps[:2], SIZES, "a", "c") == (20, "one")


def test_the_parts_of_a_split_are_copies() -> None:
    build = GraphBuilder()
    image = Value("x", 8, 4, 4)
    left, right = build.split("split", image, (4, 4))
    last = build.concat("concat", left, build.conv("conv", right, 4, activation="relu"))
    found = peak_memory_of(Graph(image, last, tuple(build.ops)))
    # x and both parts; later a part, the convolution's output, and both joined: as much
    assert found == PeakMemory(4 * (4 * 4 + 4), 4 * 2 * 8 * 16, "split")
    assert found.bytes == 80 + 1024


def test_v2_needs_most_in_its_stem() -> None:
    found = peak_memory_of(lower(reference("shufflenet_v2_x1_0")))
    stem = 4 * (3 * 224 * 224 + 24 * 112 * 112)
    assert (found.activation_bytes, found.at) == (stem, "stem.0")


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (2**10, "1 KiB"),
        (1.5 * 2**10, "1.5 KiB"),
        (2**20, "1 MiB"),
        (5_324_800, "5.078 MiB"),
        (3 * 2**40, "3,072 GiB"),
    ],
)
def test_memory_is_said_in_the_unit_that_fits(size_bytes: float, said: str) -> None:
    assert memory_in_words(size_bytes) == said


@given(st.integers(1, 2**40))
def test_no_memory_is_shown_as_nothing(size_bytes: int) -> None:
    number, unit = memory_in_words(size_bytes).split()
    shown = (
        float(number.replace(",", "")) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]
    )
    assert shown == pytest.approx(size_bytes, rel=5e-4)
