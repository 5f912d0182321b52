"""A medical-imaging privacy toolkit: distil a corpus, measure what the distilled set is worth, share it."""
