"""Exchange over NVIDIA FLARE: sites send audited, signed bundles; a server unites them, trains, asks for figures."""
