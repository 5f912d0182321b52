"""Projection: the public map from an encoder's features to the few numbers an image has in class statistics."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from medistill.artifacts.field_kinds import Count, Digest
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError

ProjectionKind = Literal["public", "invented", "encoder", "none"]
MOST = 2**16
"""Features that an encoder may have, and numbers that they may be mapped to."""


class ProjectionRecord(Record):
    """Where a projection comes from; never from the patients whose statistics it is for."""

    EXPECTED: ClassVar[str] = "a projection as `medistill distill --public` makes it"

    kind: ProjectionKind
    """`public`: principal components, whitened, of images that somebody declared public; `invented`: of drawn ones, of
    nobody; `encoder`: the encoder's own centre and scale; `none`: its features as they are."""
    encoder: Digest
    """SHA-256 of the encoder whose features it takes."""
    images: Count = 0
    """Public or drawn images that it was fitted to."""
    corpus: Digest | None = None
    """Content hash of their corpus."""

    @property
    def fitted(self) -> bool:
        """Whether it was fitted to images, so that only a file holds it."""
        return self.kind in ("public", "invented")


@dataclass(frozen=True, eq=False)
class Projection:
    """Maps features x to ``(x - centre) @ matrix``, or to ``(x - centre) * matrix`` where that is one factor a feature.

    Attributes:
        centre: float32 (D,).
        matrix: float32 (D, K) of the kinds ``public`` and ``invented``, of the others (D,), where K = D.
        record: where it comes from.

    Raises:
        ArtifactError: these are of another kind, do not fit each other, or are not finite.
    """

    centre: np.ndarray = field(repr=False)
    matrix: np.ndarray = field(repr=False)
    record: ProjectionRecord

    def __post_init__(self) -> None:
        centre, matrix = self.centre, self.matrix
        problem = ""
        if centre.dtype != np.float32 or matrix.dtype != np.float32:
            problem = f"centre and matrix are {centre.dtype} and {matrix.dtype}, not float32"
        elif centre.ndim != 1 or matrix.ndim not in (1, 2) or len(matrix) != len(centre) or not matrix.size > 0:
            problem = f"centre and matrix have the shapes {centre.shape} and {matrix.shape}"
        elif matrix.ndim != (2 if self.record.fitted else 1):
            problem = f"it is of the kind {self.record.kind}, and its matrix has the shape {matrix.shape}"
        elif max(len(centre), self.dimension) > MOST:
            problem = f"it maps {len(centre)} features to {self.dimension} numbers, and {MOST} are the most"
        elif not np.isfinite(centre).all() or not np.isfinite(matrix).all():
            problem = "it holds NaN or infinite values"
        elif not matrix.any(axis=0).all():
            problem = "one of its numbers is 0 whatever the image"
        if problem:
            raise self.record.unusable("this projection", problem)

    @property
    def dimension(self) -> int:
        """Numbers of an image, K."""
        return self.matrix.shape[-1]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, by which statistics in the same space know each other."""
        told = [self.record.encoder, self.record.kind, str(self.matrix.shape)]
        digest = hashlib.sha256(" ".join(told).encode())
        for array in (self.centre, self.matrix):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Features (N, D) -> float64 (N, K), each row for itself."""
        moved = np.asarray(features, np.float64) - self.centre
        if self.matrix.ndim == 1:
            return moved * self.matrix
        return np.einsum("nd,dk->nk", moved, self.matrix.astype(np.float64))

    def refuse_other_encoder(self, sha256: str, features: int) -> None:
        """Refuse to use it with the features of another encoder, or of another number of them.

        Args:
            sha256: of the encoder.
            features: numbers that the encoder gives of an image.

        Raises:
            ArtifactError: it is of another one, or only says that it is of this one.
        """
        if self.record.encoder != sha256:
            raise ArtifactError(
                f"the projection is of the encoder {self.record.encoder[:12]}, and the run's is {sha256[:12]}",
                expected="a projection of the features of the run's encoder",
                do="fit one with --public FOLDER and the same --encoder",
            )
        if len(self.centre) != features:
            raise ArtifactError(
                f"the projection takes {len(self.centre)} features, and the encoder {sha256[:12]} that it names gives "
                f"{features}",
                expected="as many as the encoder gives",
                do="do not use the set that it came with; fit one with --public FOLDER",
            )
