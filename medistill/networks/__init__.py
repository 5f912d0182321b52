"""The networks of this field, by name. None has batch statistics, so a batch may pass in pieces."""
