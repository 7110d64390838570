"""Finalists against baselines, trained for longer."""
