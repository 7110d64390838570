"""The time of one node of a model, as a runtime's profiler gives it."""

from typing import NamedTuple


class NodeTime(NamedTuple):
    """A node of a model as the runtime ran it: the runtime's name and operator, and its µs."""

    name: str
    operator: str
    us: float
