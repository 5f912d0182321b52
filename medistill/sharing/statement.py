"""Statement: what the sender says of a set that is shared, in the sender's own words."""

from __future__ import annotations

from medistill.artifacts.field_kinds import Line, Month, Name, Use
from medistill.artifacts.record import Record
from medistill.sharing.manifest import BundleManifest


def sender_words(sender: str, signer: str | None) -> str:
    """A sender as every table and page names one: by the sender's own words, and whether a signature vouches for it.

    Args:
        signer: fingerprint of the trusted key that signed; None where none did.
    """
    vouched = "unverified" if signer is None else f"verified by the key {signer}"
    return f"{sender or 'an unnamed sender'} ({vouched})"


class Statement(Record):
    """The sender's words, checked to be such as can stand in a manifest."""

    licence: Name
    """SPDX identifier, or a text."""
    intended_use: Use
    """What the set may be used for."""
    sender: Line = ""
    """Who sends it; empty where that is not told."""
    acknowledged_risk: Use | None = None
    """Why it is sent without a passing audit; None where it passed."""
    month: Month | None = None
    """"YYYY-MM" in which it was shared; None where that is not told."""

    @classmethod
    def of(cls, manifest: BundleManifest) -> Statement:
        """Return the one in a manifest."""
        return cls(**{name: getattr(manifest, name) for name in cls.model_fields})

    @property
    def date_sentence(self) -> str:
        """What a date in the bundle means."""
        if self.month is None:
            return "The sender tells no date: 1980-01-01 stands for none."
        return f"Shared in {self.month}; the day stands for the whole month."
