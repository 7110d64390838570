"""The measuring plan, the runs, their statistics, and their store."""
