"""Detectors on a backbone: their structure, their data, their training and their ONNX files."""
