"""Searches with many candidates at a time: by processes, threads or a Ray cluster."""
