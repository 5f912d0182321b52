"""Methods that look at the patients once, in one release under differential privacy."""
