"""Results of a search: records, the store, the front, and the pages made of them."""
