"""What the distilled images are made of: the coordinates that are moved, and how images follow from them."""
