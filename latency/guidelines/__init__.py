"""The costs behind guidelines G1 to G4 on a device, and the time that a network wastes."""
