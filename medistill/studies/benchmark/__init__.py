"""A run on a benchmark of the field, beside published figures."""
