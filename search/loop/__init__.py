"""Ask, lease, walk, save, tell."""
