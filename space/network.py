"""Everything that can be lowered, and so costed, trained, measured and exported."""

from nas_sv2.space.architecture import Architecture
from nas_sv2.space.experiment_network import ExperimentNetwork
from nas_sv2.space.published import PaperNetwork

Classifier = Architecture | PaperNetwork
"""Networks that turn an image into logits of `classes` classes."""

Network = Classifier | ExperimentNetwork
"""These, and the networks of controlled experiments, which end in a map."""
