"""Images that are compared with originals in every outer step: what its methods share."""
