"""The program that runs on the device: standard library, numpy and a runtime."""
