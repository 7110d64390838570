"""The time that a network takes, and how it is known."""
