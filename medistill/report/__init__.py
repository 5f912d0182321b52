"""The report: one record of a run, as JSON for programs and as one self-contained HTML file for people."""
