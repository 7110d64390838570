"""The controlled networks behind guidelines G1-G4."""
