"""ZCA whitening: the linear map after which pixels are uncorrelated and images still look like themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import read_tensors, write_tensors
from medistill.errors import ArtifactError, RecipeError

LARGEST = 16384
"""Values (C x H x W) of an image up to which a whitening is fitted."""
ROWS = 1024
"""Images that are turned into floating-point numbers at once."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """A regularised ZCA whitening ``(x - mean) @ matrix`` of images x as rows of D = C x H x W grey values.

    With the covariance of the training images (divided by N - 1) being U S U^T, the matrix is U (S + r)^-1/2 U^T: every
    direction of variance s is left with variance s / (s + r). Kessy, Lewin, Strimmer 2018 (arXiv:1512.00809) compare it
    with other whitenings. MTT's published settings take kornia's ``ZCAWhitening(eps=0.1)``, which is the same.

    Attributes:
        mean: float32 (D,), in units of full scale.
        matrix: float32 (D, D), symmetric and positive definite.
        regularisation: r, in squared units of full scale.

    Raises:
        ArtifactError: these are not of such a kind.
    """

    mean: np.ndarray = field(repr=False)
    matrix: np.ndarray = field(repr=False)
    regularisation: float

    def __post_init__(self) -> None:
        """Check kinds, shapes, finiteness and symmetry."""
        mean, matrix = self.mean, self.matrix
        problem = ""
        if mean.dtype != np.float32 or matrix.dtype != np.float32:
            problem = f"mean and matrix are {mean.dtype} and {matrix.dtype}, not float32"
        elif mean.ndim != 1 or matrix.shape != mean.shape * 2:
            problem = f"mean and matrix have the shapes {mean.shape} and {matrix.shape}, not (D,) and (D, D)"
        elif not np.isfinite(mean).all() or not np.isfinite(matrix).all():
            problem = "it holds NaN or infinite values"
        elif not np.array_equal(matrix, matrix.T) or matrix.diagonal().min(initial=1) <= 0:
            problem = "its matrix is not symmetric and positive"
        elif not 0 < self.regularisation < float("inf"):
            problem = f"its regularisation is {self.regularisation}"
        if problem:
            raise _unusable("this whitening", problem)

    @classmethod
    def of(cls, images: np.ndarray, regularisation: float, rows: np.ndarray | None = None) -> Whitening:
        """Fit the whitening of uint8 images (N, C, H, W), in float64, in memory that does not grow with their number
        where they are mapped.

        Args:
            images: of which all, or some, are whitened.
            regularisation: r, in squared units of full scale.
            rows: which of them; None is all.

        Raises:
            RecipeError: the images have too many values for a matrix of their square.
        """
        rows = np.arange(len(images)) if rows is None else rows
        count, values = len(rows), int(np.prod(images.shape[1:]))
        if values > LARGEST:
            raise RecipeError(
                f"data.zca with images of {values} values, whose covariance would take {values**2 * 8 / 2**30:.1f} GiB",
                expected=f"at most {LARGEST} values (channels x height x width)",
                do="choose a smaller data.image_size, or set data.zca=false",
            )
        pieces = [rows[start : start + ROWS] for start in range(0, count, ROWS)]
        total = sum(
            (images[piece].sum(axis=0, dtype=np.int64) for piece in pieces), np.zeros(images.shape[1:], np.int64)
        )
        mean = total.reshape(values) / count / 255
        covariance = np.zeros((values, values))
        for piece in pieces:
            centred = images[piece].reshape(len(piece), values) / 255 - mean
            covariance += centred.T @ centred
        covariance /= max(count - 1, 1)
        variances, directions = np.linalg.eigh(covariance)
        matrix = (directions / np.sqrt(np.maximum(variances, 0) + regularisation)) @ directions.T
        return cls(mean.astype(np.float32), ((matrix + matrix.T) / 2).astype(np.float32), regularisation)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over mean, matrix and regularisation."""
        digest = hashlib.sha256(self.mean.tobytes())
        digest.update(np.ascontiguousarray(self.matrix).data)
        digest.update(np.float64(self.regularisation).tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Equal to the bit."""
        return isinstance(other, Whitening) and self.digest == other.digest

    def __hash__(self) -> int:
        """Of the digest."""
        return hash(self.digest)

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) in units of full scale -> float32, whitened."""
        rows = images.reshape(len(images), -1).astype(np.float32)
        whitened: np.ndarray = ((rows - self.mean) @ self.matrix).reshape(images.shape)
        return whitened

    def invert(self, images: np.ndarray) -> np.ndarray:
        """The inverse of `apply`, in float64.

        Raises:
            ArtifactError: the matrix has no inverse.
        """
        rows = images.reshape(len(images), -1).astype(np.float64)
        try:
            grey: np.ndarray = np.linalg.solve(self.matrix.astype(np.float64), rows.T).T + self.mean
        except np.linalg.LinAlgError:
            raise _unusable("this whitening", "its matrix has no inverse") from None
        return grey.reshape(images.shape)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays that are stored, by name."""
        return {
            "whitening_mean": self.mean,
            "whitening_matrix": self.matrix,
            "whitening_regularisation": np.array([self.regularisation], np.float64),
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Whitening:
        """The inverse of `tensors`; others among them are left alone.

        Raises:
            KeyError, IndexError: one is missing or empty.
            ArtifactError: they are no whitening.
        """
        return cls(
            tensors["whitening_mean"],
            tensors["whitening_matrix"],
            float(tensors["whitening_regularisation"][0]),
        )

    def save(self, folder: Path) -> None:
        """Write it privately into a folder, under a name that tells its digest: two processes cannot mix theirs up."""
        write_tensors(_file(folder, self.digest), self.tensors(), private=True)

    @classmethod
    def load(cls, folder: Path, digest: str) -> Whitening:
        """Read the whitening of this digest.

        Raises:
            ArtifactError: missing, damaged, or another.
        """
        path = _file(folder, digest)
        try:
            whitening = cls.of_tensors(read_tensors(path, "whitening")[0])
        except (ArtifactError, KeyError, IndexError) as error:
            raise _unusable(str(path), str(error)) from None
        if whitening.digest != digest:
            raise _unusable(str(path), "its digest is another")
        return whitening


def _file(folder: Path, digest: str) -> Path:
    return folder / f"whitening_{digest[:16]}.safetensors"


def _unusable(which: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"{which} cannot be used: {why}",
        expected="a mean (D,) and a symmetric matrix (D, D) as medistill wrote them",
        do="for a distilled set, fetch it again; for a store of trajectories, remove its meta.json and run the same "
        "command with --resume: the whitening is fitted again, and the experts are kept",
    )
