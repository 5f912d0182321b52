"""The real loss, unrolled: what its methods share."""
