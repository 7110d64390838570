"""Image data: sources, decoding, cache and split."""
