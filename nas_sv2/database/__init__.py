"""The database of everybody: its engine, its schema, whose turn it is, and restarts."""
