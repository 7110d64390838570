"""What was found: records, the store, the front and what is made of them."""
