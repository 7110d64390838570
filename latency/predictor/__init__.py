"""A latency model that is fitted to measurements of a device."""
