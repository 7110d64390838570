"""A study in the database: records, leases, weights, certificates."""
