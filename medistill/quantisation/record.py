"""What is known of a quantisation once it is done: its cells, its errors, and how they fall with more cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medistill.errors import ArtifactError, first_complaint

QUANTISATION_SCHEMA = 1


@dataclass(frozen=True)
class RatePoint:
    """How well a number of centroids covers a class.

    Attributes:
        centroids: how many, K.
        w2: latent distance W2 between the class and its K-point quantiser, in units of the code.
    """

    centroids: int
    w2: float


@dataclass(frozen=True)
class ClassQuantisation:
    """One class. Distances W2 are between its codes, each of the same mass, and the quantiser, in units of the code.

    Attributes:
        class_name: the class.
        images: training images.
        patients: training patients (images, where no patient is known).
        given_up: centroids that were given up because too few patients were in their cell.
        set_aside: images unlike the others, in a cell but left out of its mean, else it would be of too few patients.
        cell_images: images in each cell, in the order of the distilled images.
        cell_patients: patients in each cell by the share of its images that is theirs (n^2 / sum n_p^2, rounded down),
            likewise.
        reconstruction: root mean squared difference of a pixel between an image and its decoded code, in grey levels.
        error: likewise between an image and the distilled image of its cell.
        w2: with the mass of each cell as its centroid's weight: the root mean squared distance to the nearest one.
        w2_uniform: with the same centroids and equal weights, by optimal transport.
        w2_random: of as many random training images with the masses of their cells, mean over draws.
        rate: by number of centroids, without a lower bound on the cells.
    """

    class_name: str
    images: int
    patients: int
    given_up: int
    set_aside: int
    cell_images: tuple[int, ...]
    cell_patients: tuple[int, ...]
    reconstruction: float
    error: float
    w2: float
    w2_uniform: float
    w2_random: float
    rate: tuple[RatePoint, ...]


@dataclass(frozen=True)
class Quantisation:
    """The quantisation of a corpus.

    Attributes:
        encoder: "pca", "autoencoder" or "brought".
        words: the encoder for a reader.
        dimension: numbers in a code.
        grey_codes: distances between codes are root mean squared differences of a pixel in grey levels (PCA).
        explained: share of the variance of the training images that is in their codes; None but for PCA.
        decoder: SHA-256 of an encoder-decoder that was brought; else empty.
        licence: its licence, likewise.
        min_cluster_size: fewest patients a cell.
        nested: levels at which smaller sets are parts of larger ones.
        weights: "uniform", "mass" or "sqrt".
        priors: "equal" or "corpus".
        patient_unit: "patient", "study" or "image", what ``cell_patients`` counts.
        classes: one entry a class of the set.
        sampled: most images of a class on which `w2_uniform`, `w2_random` and `rate` were measured.
    """

    encoder: str
    words: str
    dimension: int
    grey_codes: bool
    explained: float | None
    decoder: str
    licence: str
    min_cluster_size: int
    nested: tuple[int, ...]
    weights: str
    priors: str
    patient_unit: str
    classes: tuple[ClassQuantisation, ...]
    sampled: int

    @property
    def smallest(self) -> int:
        """Fewest patients whose mean a distilled image is."""
        return min(min(of_class.cell_patients) for of_class in self.classes)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"schema": QUANTISATION_SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], origin: str) -> Quantisation:
        """The inverse of `as_json`; ``origin`` names the file in messages.

        Raises:
            ArtifactError: another schema, or something is missing or of another kind.
        """
        plain = {name: entry for name, entry in value.items() if name != "schema"}
        if value.get("schema") != QUANTISATION_SCHEMA:
            raise _foreign(origin, f"its schema is {value.get('schema')!r}, not {QUANTISATION_SCHEMA}")
        try:
            return TypeAdapter(cls).validate_python(plain)
        except ValidationError as error:
            raise _foreign(origin, first_complaint(error)) from None


def _foreign(origin: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"{origin} cannot be used: {why}",
        expected="a quantisation as this version of medistill writes it",
        do="repeat the run's command with another --out",
    )
