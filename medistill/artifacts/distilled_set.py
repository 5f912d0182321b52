"""DistilledSet: the synthetic images, what a recipient needs to train on them, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medistill.artifacts.atomic import (
    deeper_than,
    read_json,
    read_tensors,
    sha256_file,
    write_atomically,
    write_json,
    write_tensors,
)
from medistill.artifacts.contact_sheet import contact_sheet
from medistill.artifacts.field_kinds import DEEPEST
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import Provenance
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError
from medistill.visible import MOST_NAME, steers

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

SET_SCHEMA = 2
READABLE = (1, 2)
"""Schemas that can be read. A set of schema 1 has no soft labels and no whitening; else the two are alike."""
MOST_CLASSES = 10_000
MOST_MANIFEST_BYTES = 8 * 2**20
LIMIT = 1e4
"""Largest magnitude, in standard deviations, that a stored image may have."""


@dataclass(frozen=True)
class DistilledSet:
    """A distilled set.

    Attributes:
        images: float32 (N, C, H, W), normalised.
        labels: int64 (N,), index into `class_names`.
        weights: float32 (N,), weight of each image in a training loss, mean 1.
        stage: int64 (N,), the stage in which each image joins the training, from 0.
        student_lr: the learned learning rate to train with.
        normalisation: turns images back into grey values.
        class_names: one a class.
        provenance: what it says of its making; plain values are read as a manifest's. No patient's identifier.
        soft_labels: float32 (N, classes), probabilities to train on in place of `labels`, where they were learned;
            `labels` is then the class that each image was made for.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    stage: np.ndarray
    student_lr: float
    normalisation: Normalisation
    class_names: tuple[str, ...]
    provenance: Provenance = field(default_factory=Provenance)
    soft_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.provenance, Provenance):
            object.__setattr__(self, "provenance", Provenance.read(self.provenance))
        _check(self)

    @property
    def ipc(self) -> int:
        """Images per class (of the largest class)."""
        return int(np.bincount(self.labels).max())

    def viewable(self) -> np.ndarray:
        """The images as uint8 (N, C, H, W)."""
        return self.normalisation.invert(self.images)

    def as_dataset(self) -> TensorDataset:
        """The set for PyTorch: each item is an image, a label and a weight.

        The image is float32 (C, H, W), normalised; the label int64, or float32 (classes,) probabilities where the set
        has soft labels (`torch.nn.functional.cross_entropy` takes both); the weight float32, to multiply the loss with.
        All stages are in it: stage k shows ``torch.utils.data.Subset(dataset, np.flatnonzero(self.stage <= k))``.
        """
        import torch
        from torch.utils.data import TensorDataset

        labels = self.labels if self.soft_labels is None else self.soft_labels
        return TensorDataset(*(torch.from_numpy(array.copy()) for array in (self.images, labels, self.weights)))

    def training_bytes(self) -> bytes:
        """All that decides what a network learns from the set, as bytes to take a digest of."""
        arrays = (self.images, self.labels, self.weights, self.stage, np.float64(self.student_lr), self.soft_labels)
        told = b"".join(array.tobytes() for array in arrays if array is not None)
        return told + json.dumps(self.normalisation.as_json()).encode()

    def tensors(self) -> dict[str, np.ndarray]:
        """What ``images.safetensors`` holds."""
        whitening = self.normalisation.whitening
        return {
            "images": self.images.astype(np.float32),
            "viewable": self.viewable(),
            "labels": self.labels.astype(np.int64),
            "weights": self.weights.astype(np.float32),
            "stage": self.stage.astype(np.int64),
            "student_lr": np.array([self.student_lr], np.float64),
            "mean": np.array(self.normalisation.mean, np.float64),
            "std": np.array(self.normalisation.std, np.float64),
            **({} if whitening is None else whitening.tensors()),
            **({} if self.soft_labels is None else {"soft_labels": self.soft_labels.astype(np.float32)}),
        }

    def file_bytes(self) -> bytes:
        """``images.safetensors`` as `save` writes it."""
        from safetensors.numpy import save

        return save({name: np.asarray(array, order="C") for name, array in self.tensors().items()}, {})

    def digest(self) -> str:
        """SHA-256 of ``images.safetensors`` as `save` writes it, by which audits and bundles name the set."""
        return hashlib.sha256(self.file_bytes()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``images.safetensors``, ``contact_sheet.png`` and, last, ``manifest.json`` with their hashes."""
        tensors, held = folder / "images.safetensors", self.tensors()
        write_tensors(tensors, held)
        sheet = folder / "contact_sheet.png"
        picture = contact_sheet(held["viewable"], self.labels, self.class_names)
        write_atomically(sheet, lambda file: picture.save(file, format="PNG"))
        write_json(
            folder / "manifest.json",
            {
                "schema": SET_SCHEMA,
                "kind": "medistill distilled set",
                "class_names": list(self.class_names),
                "shape": list(self.images.shape),
                "ipc": self.ipc,
                "files": {file.name: sha256_file(file) for file in (tensors, sheet)},
                "provenance": self.provenance.as_json(),
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> DistilledSet:
        """Read a set and check hashes, shapes, ranges and finiteness.

        Raises:
            ArtifactError: anything missing, altered, out of range, or of another schema.
        """
        folder = Path(folder)
        if not (folder / "manifest.json").is_file() and (folder / "set" / "manifest.json").is_file():
            folder = folder / "set"
        manifest = read_json(folder / "manifest.json", "distilled set", most=MOST_MANIFEST_BYTES)
        if manifest.get("schema") not in READABLE:
            raise ArtifactError(
                f"{folder / 'manifest.json'} has schema {manifest.get('schema')!r}",
                expected=f"schema {' or '.join(map(str, READABLE))}",
                do="read it with the version of medistill that wrote it",
            )
        hashes = manifest.get("files")
        if not isinstance(hashes, dict) or "images.safetensors" not in hashes:
            raise _unusable(folder / "manifest.json", "it lists no hash for images.safetensors")
        for name, expected in hashes.items():
            path = folder / name
            if name != Path(name).name or not path.is_file():
                raise _unusable(folder / "manifest.json", f"it lists {name!r}, which is not a file beside it")
            if sha256_file(path) != expected:
                raise _unusable(path, "its SHA-256 is not the one in manifest.json, so it was altered or damaged")
        tensors, _ = read_tensors(folder / "images.safetensors", "distilled set")
        names, provenance = manifest.get("class_names"), manifest.get("provenance")
        if not isinstance(names, list) or not isinstance(provenance, dict):
            raise _unusable(
                folder / "manifest.json", "its class_names or its provenance are missing or of another kind"
            )
        if deeper_than(provenance, DEEPEST):
            raise _unusable(folder / "manifest.json", f"its provenance is nested more than {DEEPEST} levels deep")
        if "images" in tensors and list(tensors["images"].shape) != manifest.get("shape"):
            raise _unusable(folder, "the images do not have the shape that manifest.json gives")
        try:
            return cls.of_tensors(tensors, names, Provenance.read(provenance))
        except ArtifactError as error:
            raise _unusable(folder, error.seen) from None

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, np.ndarray], class_names: Sequence[str], provenance: Provenance
    ) -> DistilledSet:
        """The inverse of `tensors`.

        Raises:
            ArtifactError: a tensor is missing, of another kind, or out of range.
        """
        try:
            return cls(
                images=tensors["images"],
                labels=tensors["labels"],
                weights=tensors["weights"],
                stage=tensors["stage"],
                student_lr=float(tensors["student_lr"][0]),
                normalisation=Normalisation(
                    tuple(map(float, tensors["mean"])),
                    tuple(map(float, tensors["std"])),
                    Whitening.of_tensors(tensors) if "whitening_matrix" in tensors else None,
                ),
                class_names=tuple(class_names),
                provenance=provenance,
                soft_labels=tensors.get("soft_labels"),
            )
        except ArtifactError:
            raise
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"a part is missing or of another kind ({error})",
                expected="the tensors of a distilled set",
                do="fetch it again",
            ) from None


def _unusable(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be used: {why}", expected="a distilled set as medistill wrote it", do="fetch it again"
    )


def _check(distilled: DistilledSet) -> None:
    images, count = distilled.images, len(distilled.images)
    mean, std = distilled.normalisation.mean, distilled.normalisation.std
    whitening = distilled.normalisation.whitening
    problem = ""
    if images.ndim != 4 or images.size == 0 or images.dtype != np.float32:
        problem = f"images are {images.dtype} {images.shape}, not float32 (N, C, H, W)"
    elif any(a.shape != (count,) for a in (distilled.labels, distilled.weights, distilled.stage)):
        problem = "labels, weights and stage do not have one entry an image"
    elif distilled.labels.dtype != np.int64 or distilled.stage.dtype != np.int64:
        problem = "labels and stage are not int64"
    elif distilled.weights.dtype != np.float32:
        problem = "weights are not float32"
    elif not np.isfinite(images).all() or not np.isfinite(distilled.weights).all():
        problem = "it holds NaN or infinite values"
    elif np.abs(images).max() > LIMIT:
        problem = f"an image reaches {np.abs(images).max():.3g} standard deviations"
    elif not all(isinstance(name, str) for name in distilled.class_names):
        problem = "a class has a name that is not text"
    elif len(distilled.class_names) > MOST_CLASSES:
        problem = f"it has {len(distilled.class_names)} classes, and {MOST_CLASSES} are the most"
    elif any(steers(name) or len(name) > MOST_NAME for name in distilled.class_names):
        problem = f"a class has a name with a control character in it, or of more than {MOST_NAME} characters"
    elif len(set(distilled.class_names)) < len(distilled.class_names):
        problem = "two classes have the same name"
    elif distilled.labels.min() < 0 or distilled.labels.max() >= len(distilled.class_names):
        problem = f"a label lies outside 0..{len(distilled.class_names) - 1}"
    elif distilled.weights.min() < 0 or distilled.stage.min() < 0:
        problem = "a weight or a stage is negative"
    elif not 0 < distilled.student_lr < float("inf"):
        problem = f"its learning rate is {distilled.student_lr}"
    elif not len(mean) == len(std) == images.shape[1] or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        problem = "its normalisation does not fit its channels"
    elif whitening is not None and whitening.mean.shape != (images[0].size,):
        problem = "its whitening does not fit its images"
    elif distilled.soft_labels is not None:
        problem = _soft_problem(distilled.soft_labels, (count, len(distilled.class_names)))
    if problem:
        raise ArtifactError(
            f"this distilled set cannot be used: {problem}",
            expected="a finite, consistent set",
            do="make or fetch it again",
        )


def _soft_problem(soft: np.ndarray, shape: tuple[int, int]) -> str:
    if soft.dtype != np.float32 or soft.shape != shape:
        return f"soft labels are {soft.dtype} {soft.shape}, not float32 {shape}"
    if not np.isfinite(soft).all() or soft.min() < 0 or np.abs(soft.sum(axis=1) - 1).max() > 1e-3:
        return "a row of the soft labels is not a probability distribution"
    return ""
