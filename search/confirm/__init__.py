"""Finalists of a study against hand-designed networks, trained for longer."""
