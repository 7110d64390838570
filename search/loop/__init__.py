"""Ask, claim, walk, save, tell."""
