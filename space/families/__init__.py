"""The networks that the paper compares, one file a family."""
