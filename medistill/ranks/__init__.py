"""Ranks: the processes of one run, as torch's elastic launcher starts them, and what they have to say to each other."""
