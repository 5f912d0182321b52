"""Golden values: digests of what the chain made before its code was moved about."""
