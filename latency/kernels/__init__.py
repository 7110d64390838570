"""A graph as the runtime executes it."""
