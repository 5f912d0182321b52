"""Rendering: images that are optimised until an encoder sees given features in them; what such methods share."""
