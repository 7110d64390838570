"""The search: the walk of a candidate, and the loop around it."""
