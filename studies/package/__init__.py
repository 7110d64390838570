"""The package of an exported network: how it is built, loaded and verified."""
