"""Many candidates at a time: processes, threads, a Ray cluster."""
