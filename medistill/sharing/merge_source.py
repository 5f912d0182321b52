"""MergeSource: a set that is to be united with others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medistill.artifacts.distilled_set import DistilledSet


@dataclass(frozen=True)
class MergeSource:
    """A set that is to be united with others.

    Attributes:
        name: what it is called in messages.
        distilled: the set.
        set_digest: SHA-256 of its ``images.safetensors``.
        sender: who sent it, in the sender's own words; "" where not told.
        signer: fingerprint of the trusted key that signed it; None where no signature vouches for it.
        label_map: class as it is named there -> as it is to be named; a class mapped to itself is kept as one that not
            every set has.
        audit: how the audit ended that came with it, "none" where none did; None where that was not looked at.
    """

    name: str
    distilled: DistilledSet
    set_digest: str
    sender: str = ""
    signer: str | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    audit: str | None = None

    @property
    def renamed(self) -> tuple[str, ...]:
        """Its classes under their new names, in its own order."""
        return tuple(self.label_map.get(name, name) for name in self.distilled.class_names)
