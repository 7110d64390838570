"""The kernels of a graph, as the runtime executes it."""
