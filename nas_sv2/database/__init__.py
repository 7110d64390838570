"""The database that all rooms share: its handle, schema, locks, turns and restarts."""

DEFAULT_STORAGE = "sqlite:///nas-sv2.db"
"""The database that is used if the user names none."""
