"""QuantisedSummary: what anyone should know of images that are, or began as, means of patients' images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from medistill.artifacts.field_kinds import Count, Line, Whole
from medistill.artifacts.record import Record
from medistill.recipe import Weighting


class QuantisedSummary(Record):
    """The centroids that a set's images are, or began as, as the set, its bundle and its report tell of them.

    Sets leave out what is not known. What they say beyond these keys is not taken up; a bundle that does is refused,
    since its manifest is spelt otherwise then.
    """

    model_config = ConfigDict(extra="ignore")

    min_cluster_size: Whole
    """Fewest patients (images, where no patient is known) that were asked for in a cell."""
    smallest_cluster: Whole
    """Fewest that are in one."""
    encoder: Literal["", "pca", "autoencoder", "brought", "features"] = ""
    """"pca", "autoencoder", "brought", or "features" of the network's encoder; empty where not known."""
    dimension: Count = 0
    """Numbers in a code; 0 where not known."""
    weights: Literal[""] | Weighting = ""
    """"uniform", "mass" or "sqrt"; empty where the images were changed afterwards and weigh alike."""
    labels: Literal["", "soft", "hard"] = ""
    """"soft" or "hard"; empty likewise."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """What the teachers' logits were divided by; None without a teacher."""
    teachers: Count = 0
    """Networks whose mean answers the soft labels are."""
    decoder: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """SHA-256 of an encoder-decoder that was brought; else empty."""
    licence: Line = ""
    """Its licence, likewise."""
