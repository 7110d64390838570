"""A request, understood, opened and run."""
