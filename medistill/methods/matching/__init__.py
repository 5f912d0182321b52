"""Trajectory matching: what its methods share."""
