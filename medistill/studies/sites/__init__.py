"""What a set is worth at a site that had no part in it."""
