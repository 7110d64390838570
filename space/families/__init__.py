"""The networks that the paper compares, by lineage."""
