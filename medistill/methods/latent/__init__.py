"""Images that are rendered from latents of a decoder: what its methods share."""
