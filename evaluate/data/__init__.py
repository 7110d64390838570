"""Images: sources, decoding, cache and split."""
