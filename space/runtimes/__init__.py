"""The graph as torch, ONNX, int8 and plain source."""
