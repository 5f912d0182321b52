"""Studies: questions that several runs of the workflow answer together, or one beside figures of others."""
