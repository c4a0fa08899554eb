"""Energy, bounds, regions, attribution and emissions: pure functions, columns in, a tree out."""
