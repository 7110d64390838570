"""One description of a network, lowered to one graph."""
