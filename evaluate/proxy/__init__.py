"""Short trainings of candidates."""
