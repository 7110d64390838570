"""nas-sv2: latency-aware neural architecture search over the ShuffleNet V2 unit."""

__version__ = "0.1.0"
