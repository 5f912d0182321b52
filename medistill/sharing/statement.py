"""Statement: what the sender says of a set that is shared, in the sender's own words."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from medistill.artifacts.field_kinds import Line, Month, Name, Use
from medistill.sharing.manifest import BundleManifest


def sender_words(sender: str, signer: str | None) -> str:
    """A sender as every table and page names one: by the sender's own words, and whether a signature vouches for it.

    Args:
        signer: fingerprint of the trusted key that signed; None where none did.
    """
    vouched = "unverified" if signer is None else f"verified by the key {signer}"
    return f"{sender or 'an unnamed sender'} ({vouched})"


@dataclass(frozen=True)
class Statement:
    """The sender's words, checked to be such as can stand in a manifest.

    Attributes:
        licence: SPDX identifier, or a text.
        intended_use: what the set may be used for.
        sender: who sends it; empty where that is not told.
        acknowledged_risk: why it is sent without a passing audit; None where it passed.
        month: "YYYY-MM" in which it was shared; None where that is not told.
    """

    licence: Name
    intended_use: Use
    sender: Line = ""
    acknowledged_risk: Use | None = None
    month: Month | None = None

    @classmethod
    def of(cls, manifest: BundleManifest) -> Statement:
        """The one in a manifest."""
        return cls(manifest.licence, manifest.intended_use, manifest.sender, manifest.acknowledged_risk, manifest.month)

    @property
    def date_sentence(self) -> str:
        """What a date in the bundle means."""
        if self.month is None:
            return "The sender tells no date: 1980-01-01 stands for none."
        return f"Shared in {self.month}; the day stands for the whole month."
