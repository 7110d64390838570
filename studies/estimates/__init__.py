"""Estimates of a network's accuracy from the trainings of a study."""
