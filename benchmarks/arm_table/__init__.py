"""Builds and checks the kernel costs of the emulated ARM target."""
