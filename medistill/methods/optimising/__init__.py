"""Images that are optimised by outer steps: what is alike whatever they are compared with."""
