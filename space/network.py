"""Everything that can be lowered, and so costed, trained, measured and exported."""

from nas_sv2.space.architecture import Architecture
from nas_sv2.space.published import PaperNetwork

Network = Architecture | PaperNetwork
