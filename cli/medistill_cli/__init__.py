"""The command line: it parses, calls one workflow, and draws what that says."""
