"""Search spaces, and how networks are drawn from them."""
