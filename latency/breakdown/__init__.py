"""The time of a network by kernel, and the gain from a change of the network."""
