"""Studies: what is put together of several verbs of the workflow to answer one question."""
