"""Training recipes: values, built-in ones and files."""
