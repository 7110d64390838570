"""How a network's time splits over its kernels, and the gain of a change."""
