"""The candidates of a study on another target."""
