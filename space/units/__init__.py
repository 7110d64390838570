"""An architecture of the ShuffleNet V2 unit, how it lowers, and its files."""
