"""PatchedSummary: what anyone should know of images that are pasted together from patches of originals."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from medistill.artifacts.field_kinds import Count, Line, Whole
from medistill.artifacts.record import Record


class PatchedSummary(Record):
    """The patches that a set's images are, as the set, its bundle and its report tell of them.

    What a set says beyond these keys is not taken up; a bundle that does is refused, since its manifest is spelt
    otherwise then.
    """

    model_config = ConfigDict(extra="ignore")

    along: Whole
    """Patches along a side of an image."""
    originals: Whole
    """Originals of which a part is in the images, unchanged."""
    groups: Whole
    """How many patients (or studies, or images) these are of."""
    denoiser: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """SHA-256 of a denoiser that was brought; else empty: it was trained on the originals."""
    licence: Line = ""
    """Its licence, likewise."""
    teachers: Count = 0
    """Networks whose mean answers the soft labels are; 0 where labels are classes."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """What their logits were divided by; None without them."""
