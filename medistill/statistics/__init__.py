"""Class statistics of what an encoder sees, released once under differential privacy, and what follows from them."""
