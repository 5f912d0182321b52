"""Where the networks of an outer step come from, drawn by name and iteration."""
