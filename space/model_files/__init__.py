"""A file for LiteRT or ncnn, as a network that is only run."""
