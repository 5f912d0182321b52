"""Class statistics: noisy sums of what an encoder sees in each class, as one file that may travel with a set."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from medistill.artifacts.atomic import parse_json
from medistill.artifacts.field_kinds import ClassName
from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError
from medistill.recipe import Unit

FILE = "statistics.safetensors"
RECORD = "record"
"""Key in the metadata of the file."""
LARGEST = 1e15
"""Largest magnitude of a number in it."""
MOST_CLASSES = 1000
MOST_RELEASES = 10**6
MOST_BYTES = 64 * 2**20
MOST_RECORD = 2**20
"""Bytes that the record may have."""

Deviation = Annotated[float, Field(ge=0, le=LARGEST)]


class StatisticsRecord(Record):
    """What has to be known to use class statistics. It holds nothing that was counted without noise."""

    EXPECTED: ClassVar[str] = "class statistics as medistill writes them"
    DO: ClassVar[str] = "fetch them again"

    schema_number: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["medistill class statistics"] = "medistill class statistics"
    class_names: tuple[ClassName, ...]
    """One a row of the sums."""
    unit: Unit
    """Whose part in them is bounded."""
    clip: Annotated[float, Field(gt=0, le=LARGEST)]
    """Largest norm of an image's projected features; longer ones were shortened to it."""
    sums_noise: tuple[Deviation, ...]
    """Of each class the standard deviation of the noise in each number of its sum."""
    counts_noise: tuple[Deviation, ...]
    """Of the noise in each count; 0 where the counts are public numbers and none was measured."""
    second_noise: Deviation
    """Of the noise in each number of the diagonal of the second moments, √2 times that of the others; 0 where there are
    none."""
    releases: Annotated[int, Field(ge=1, le=MOST_RELEASES)] = 1
    """Releases that were added up, each of other patients."""
    projection: ProjectionRecord
    """Of the features."""


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Noisy statistics of a corpus: what one release gave, or the sum of several.

    Each unit (a patient, say) counts once, divided over the classes by the share of its images in each.

    Attributes:
        sums: float64 (C, K): for each class the sum over the units of the share times the mean of the clipped,
            projected features.
        counts: float64 (C,): the sum of the shares.
        second: float64 (K, K), symmetric: the sum over the units of the mean of z zᵀ; None where it was not released.
        projection: from features to z.
        record: what else has to be known.

    Raises:
        ArtifactError: these are of another kind, do not fit each other, or are out of range.
    """

    sums: np.ndarray = field(repr=False)
    counts: np.ndarray = field(repr=False)
    second: np.ndarray | None = field(repr=False)
    projection: Projection
    record: StatisticsRecord

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise self.record.unusable("these class statistics", problem)

    @property
    def sizes(self) -> np.ndarray:
        """Float64 (C,): the counts, but at least 1: so much is a class that noise made smaller."""
        return np.maximum(self.counts, 1.0)

    @property
    def means(self) -> np.ndarray:
        """Float64 (C, K): the noisy mean of each class, shortened to the clip where noise made it longer."""
        means = self.sums / self.sizes[:, None]
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means * np.minimum(1.0, self.record.clip / np.maximum(norms, 1e-300)))

    def feature_means(self) -> np.ndarray:
        """Float64 (C, D): the means as features, where the projection has one factor a feature.

        Raises:
            ValueError: it has a matrix, which cannot be undone.
        """
        if self.projection.matrix.ndim != 1:
            raise ValueError("a projection to fewer numbers cannot be undone")
        return np.asarray(self.means / self.projection.matrix + self.projection.centre)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, by which a set names them."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the file: safetensors, with the record in its metadata. The same statistics give the same bytes."""
        from safetensors.numpy import save

        arrays = {
            "sums": self.sums,
            "counts": self.counts,
            "centre": self.projection.centre,
            "matrix": self.projection.matrix,
            **({} if self.second is None else {"second": self.second}),
        }
        told = json.dumps(self.record.as_json(), sort_keys=True)
        return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, {RECORD: told})

    @classmethod
    def from_bytes(cls, data: bytes, origin: str) -> ClassStatistics:
        """Return what `to_bytes` wrote, byte for byte; ``origin`` names the file in messages.

        Raises:
            ArtifactError: too large, damaged, of another kind or schema, out of range, or spelt otherwise.
        """
        if len(data) > MOST_BYTES:
            raise _unusable(origin, f"it has more than {MOST_BYTES // 2**20} MiB")
        arrays, told = _parsed(data, origin)
        known = parse_json(told.encode(), origin, "class statistics")
        record = StatisticsRecord.from_json(known, origin)
        try:
            projection = Projection(arrays["centre"], arrays["matrix"], record.projection)
            found = cls(arrays["sums"], arrays["counts"], arrays.get("second"), projection, record)
        except ArtifactError as error:
            raise _unusable(origin, error.seen) from None
        except KeyError as error:
            raise _unusable(origin, f"it has no {error.args[0]}") from None
        if found.to_bytes() != data:
            raise _unusable(origin, "it holds more than class statistics, or is spelt otherwise")
        return found


def _parsed(data: bytes, origin: str) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays, and the text of the record."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, Any] = load(data)
        length = int.from_bytes(data[:8], "little")
        told = json.loads(data[8 : 8 + length])["__metadata__"][RECORD]
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unusable(origin, f"it is damaged ({type(error).__name__})") from None
    if not isinstance(told, str) or len(told) > MOST_RECORD:
        raise _unusable(origin, "its record is none, or too long")
    return arrays, told


def _problem(statistics: ClassStatistics) -> str:
    sums, counts, second, record = statistics.sums, statistics.counts, statistics.second, statistics.record
    classes, numbers = len(record.class_names), statistics.projection.dimension
    arrays = {"sums": sums, "counts": counts, **({} if second is None else {"second moments": second})}
    shapes = {"sums": (classes, numbers), "counts": (classes,), "second moments": (numbers, numbers)}
    for name, array in arrays.items():
        if array.dtype != np.float64 or array.shape != shapes[name]:
            return f"its {name} are {array.dtype} {array.shape}, not float64 {shapes[name]}"
        if not (np.abs(array) <= LARGEST).all():
            return f"its {name} hold NaN, or a number beyond {LARGEST:g}"
    if second is not None and not np.array_equal(second, second.T):
        return "its second moments are not symmetric"
    if {len(record.sums_noise), len(record.counts_noise)} != {classes}:
        return "it does not say how much noise there is in each class"
    if not 0 < classes <= MOST_CLASSES or len(set(record.class_names)) < classes:
        return f"it has no class, more than {MOST_CLASSES}, or two of one name"
    if (second is None) != (record.second_noise == 0):
        return "it holds second moments without noise, or states noise on some that it does not hold"
    if record.projection != statistics.projection.record:
        return "it says another projection than the one it holds"
    return ""


def _unusable(origin: str, why: str) -> ArtifactError:
    return StatisticsRecord.unusable(origin, why)
