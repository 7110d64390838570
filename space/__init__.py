"""Networks that may be built, and their cost on paper."""
