"""An ARM core as a table of kernel times."""
