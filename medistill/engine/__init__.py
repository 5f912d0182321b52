"""The mathematics of distillation: an outer loop over named coordinates, and what can be put into it."""
