"""The walk of a candidate: the cheapest question first."""
