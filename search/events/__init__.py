"""Events that a search reports."""
