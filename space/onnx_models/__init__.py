"""A network of the user's own, as an ONNX file."""
