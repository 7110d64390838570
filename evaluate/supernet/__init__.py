"""Shared weights of all networks of a space."""
