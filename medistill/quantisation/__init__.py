"""Optimal quantisation: a class as a few weighted centroids in a latent space (DDOQ)."""
