"""Latency models that are fitted to measurements of a device."""
