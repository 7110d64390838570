"""A target by its name, and the user's file of devices."""
