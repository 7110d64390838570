"""Optuna's dashboard with our notes."""
