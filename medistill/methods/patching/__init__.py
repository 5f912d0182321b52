"""Patching: how images are pasted together from patches of originals that a scorer chose."""
