"""Everything that can be lowered, and so costed, trained, measured and exported."""

from nas_sv2.space.experiments.network import ExperimentNetwork
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.units.architecture import Architecture

Classifier = Architecture | PaperNetwork
"""Networks that turn an image into logits of `classes` classes."""

Network = Classifier | ExperimentNetwork
"""These, and the networks of controlled experiments, which end in a map."""
