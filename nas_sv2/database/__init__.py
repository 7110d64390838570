"""The database of everybody: its handle, its schema, whose turn it is, and restarts."""

DEFAULT_STORAGE = "sqlite:///nas-sv2.db"
"""The database of a user who names none."""
