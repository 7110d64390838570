"""A space of your own in Python: the built-in one of 140 MFLOPs, with 3×3 kernels alone.

nas-sv2 search --target arm --budget 140M --space narrow_space:narrow
"""

from dataclasses import replace

from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.search_space import SearchSpace


def narrow() -> SearchSpace:
    """Return the space; the kernel is no longer searched."""
    space = named_space("140M")
    stages = tuple(replace(stage, kernel=(3,)) for stage in space.stages)
    return replace(space, name="narrow", stages=stages)
