"""The loop of a search: ask, lease, walk, save, tell."""
