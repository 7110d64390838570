"""The channels that pass a unit untouched."""
