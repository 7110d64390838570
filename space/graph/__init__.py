"""Operators with shapes, their cost, and the guidelines' scores."""
