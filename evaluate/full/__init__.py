"""Full trainings of chosen networks."""
