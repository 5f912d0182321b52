"""What is known of a quantisation once it is done: its cells, its errors, and how they fall with more cells."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from medistill.artifacts.record import Record
from medistill.recipe import Unit, Weighting


class RatePoint(Record):
    """How well a number of centroids covers a class."""

    centroids: int
    """How many, K."""
    w2: float
    """Latent distance W2 between the class and its K-point quantiser, in units of the code."""


class ClassQuantisation(Record):
    """One class. Distances W2 are between its codes, each of the same mass, and the quantiser, in units of the code."""

    class_name: str
    """The class."""
    images: int
    """Training images."""
    patients: int
    """Training patients (images, where no patient is known)."""
    given_up: int
    """Centroids that were given up because too few patients were in their cell."""
    set_aside: int
    """Images unlike the others, in a cell but left out of its mean, else it would be of too few patients."""
    cell_images: tuple[int, ...]
    """Images in each cell, in the order of the distilled images."""
    cell_patients: tuple[int, ...]
    """Patients in each cell by the share of its images that is theirs (n^2 / sum n_p^2, rounded down), likewise."""
    reconstruction: float | None
    """Root mean squared difference of a pixel between an image and its decoded code, in grey levels; None where no
    decoder is."""
    error: float | None
    """Likewise between an image and the distilled image of its cell."""
    w2: float
    """With the mass of each cell as its centroid's weight: the root mean squared distance to the nearest one."""
    w2_uniform: float
    """With the same centroids and equal weights, by optimal transport."""
    w2_random: float
    """Of as many random training images with the masses of their cells, mean over draws."""
    rate: tuple[RatePoint, ...]
    """By number of centroids, without a lower bound on the cells."""


class Quantisation(Record):
    """The quantisation of a corpus."""

    EXPECTED: ClassVar[str] = "a quantisation as this version of medistill writes it"
    DO: ClassVar[str] = "repeat the run's command with another --out"

    schema_number: Literal[1] = Field(default=1, alias="schema")
    """Number of this format."""
    encoder: Literal["pca", "autoencoder", "brought", "features"]
    """"pca", "autoencoder", "brought", or "features" of the network's encoder, which has no decoder."""
    words: str
    """The encoder for a reader."""
    dimension: int
    """Numbers in a code."""
    grey_codes: bool
    """Distances between codes are root mean squared differences of a pixel in grey levels (PCA)."""
    explained: float | None
    """Share of the variance of the training images that is in their codes; None but for PCA."""
    decoder: str
    """SHA-256 of an encoder-decoder that was brought; else empty."""
    licence: str
    """Its licence, likewise."""
    min_cluster_size: int
    """Fewest patients a cell."""
    nested: tuple[int, ...]
    """Levels at which smaller sets are parts of larger ones."""
    weights: Weighting
    """"uniform", "mass" or "sqrt"."""
    priors: Literal["equal", "corpus"]
    """"equal" or "corpus"."""
    patient_unit: Unit
    """"patient", "study" or "image", what ``cell_patients`` counts."""
    classes: tuple[ClassQuantisation, ...]
    """One entry a class of the set."""
    sampled: int
    """Most images of a class on which `w2_uniform`, `w2_random` and `rate` were measured."""

    @property
    def smallest(self) -> int:
        """Fewest patients whose mean a distilled image is."""
        return min(min(of_class.cell_patients) for of_class in self.classes)
