from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.graph.peak_memory import PeakMemory, Step, most_alive, peak_memory_of
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
