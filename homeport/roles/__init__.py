"""The roles: one module each, with `problems` (what stands in the way) and `apply`."""
