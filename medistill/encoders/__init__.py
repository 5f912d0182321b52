"""Frozen encoders: networks that others trained and nobody here changes, and what they see in images."""
