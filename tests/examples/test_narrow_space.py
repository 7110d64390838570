"""The space of the example is opened by its words and gives what it says."""

from nas_sv2.space.choices.extremes import largest
from nas_sv2.space.choices.levels import named_space, open_space


def test_the_space_has_no_other_kernel() -> None:
    space = open_space("narrow_space:narrow")
    assert {stage.kernel for stage in space.stages} == {(3,)}
    assert {stage.kernel for stage in largest(space).stages} == {3}
    assert space.baselines == named_space("140M").baselines
