"""Benchmarks of the field, read from their official files as users have them."""
