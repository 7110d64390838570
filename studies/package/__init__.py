"""An exported network: building, loading and verifying it."""
