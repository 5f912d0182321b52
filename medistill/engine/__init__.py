"""The mathematics of trajectory matching, exact and in the memory of one step."""
