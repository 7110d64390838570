"""What may be built, and its cost on paper."""

from nas_sv2.space.architecture import Architecture, Stage
from nas_sv2.space.cost import Cost, cost_of
from nas_sv2.space.documents import load_architecture
from nas_sv2.space.lowering import lower
from nas_sv2.space.reference import reference
from nas_sv2.space.search_space import SearchSpace

__all__ = [
    "Architecture",
    "Cost",
    "SearchSpace",
    "Stage",
    "cost_of",
    "load_architecture",
    "lower",
    "reference",
]
