"""Files become images: discovery, reading, splits, and the phantom corpus that needs no patient."""
