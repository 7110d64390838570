"""Optuna's dashboard with our notes, fronts and files."""
