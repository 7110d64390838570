"""The choice of the next candidate by models of accuracy and latency."""
