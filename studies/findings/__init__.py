"""Values that a study found, and their statistics."""
