"""The costs behind guidelines G1-G4 on a device, and the time that a network wastes."""
