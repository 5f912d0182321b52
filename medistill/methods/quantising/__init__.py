"""Quantisation: what the methods whose images are centroids share."""
