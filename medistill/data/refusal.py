"""Refusal: why one file is left out of a corpus. It is recorded, and the reading goes on with the next file."""

from __future__ import annotations


class RejectedFile(Exception):
    """A file that cannot be part of the corpus.

    Args:
        category: short name, counted in summaries and reports.
        reason: the same in a sentence for the manifest; never a value that could identify a patient.
    """

    def __init__(self, category: str, reason: str) -> None:
        super().__init__(category, reason)
        self.category, self.reason = category, reason
