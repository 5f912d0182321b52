"""Selection: which originals are used, and which are not, by what can be worked out of each."""
