"""DistilledSet: the synthetic images, what a recipient needs to train on them, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medistill.artifacts.atomic import sha256_file, write_atomically, write_bytes, write_json, write_tensors
from medistill.artifacts.class_statistics import FILE as STATISTICS
from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.contact_sheet import contact_sheet
from medistill.artifacts.label_kind import TENSOR_OF, LabelKind
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import Provenance
from medistill.artifacts.set_folder import read_set_folder, schema_of, unusable
from medistill.artifacts.set_problem import set_problem
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset


@dataclass(frozen=True)
class DistilledSet:
    """A distilled set.

    Attributes:
        images: float32 (N, C, H, W), normalised, as they are stored; networks are shown those of `expanded`.
        labels: int64 (N,), index into `class_names`.
        weights: float32 (N,), weight of each image in a training loss, mean 1.
        stage: int64 (N,), the stage in which each image joins the training, from 0.
        student_lr: the learned learning rate to train with.
        normalisation: turns images back into grey values.
        class_names: one a class.
        provenance: what it says of its making; plain values are read as a manifest's. No patient's identifier.
        soft_labels: float32 (N, classes), probabilities or values to train on in place of `labels`, where they were
            learned; `labels` is then the class that each image was made for. Target vectors are (N, width).
        label_kind: what soft labels are. With "values" networks are trained by the squared error, |f(x) - y|^2 / 2.
            With "targets" they are pretrained by the mean of the squares of f(x) - y, and their last layer is then
            fitted to `labels`.
        statistics: noisy class statistics of what an encoder sees in the originals, which travel with the set; None
            where there are none. The provenance names their SHA-256.
        cut_to: images of each class that `first` left of a larger set; None where none were left out. It is not saved.
        tiles: parts of each side that an image is cut into, f, each to be enlarged to a whole image to train on; 1 is
            the image itself.
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
    label_kind: LabelKind = "probabilities"
    statistics: ClassStatistics | None = None
    cut_to: int | None = None
    tiles: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.provenance, Provenance):
            object.__setattr__(self, "provenance", Provenance.read(self.provenance))
        if problem := set_problem(self):
            raise ArtifactError(
                f"this distilled set cannot be used: {problem}",
                expected="a finite, consistent set",
                do="make or fetch it again",
            )

    @property
    def ipc(self) -> int:
        """Images per class (of the largest class)."""
        return int(np.bincount(self.labels).max())

    @property
    def by_values(self) -> bool:
        """Whether networks are trained on label values, by the squared error."""
        return self.soft_labels is not None and self.label_kind == "values"

    @property
    def by_targets(self) -> bool:
        """Whether networks are pretrained on target vectors."""
        return self.soft_labels is not None and self.label_kind == "targets"

    @property
    def by_class(self) -> bool:
        """Whether its soft labels say something of every class."""
        return self.soft_labels is not None and self.label_kind != "targets"

    @property
    def shown(self) -> int:
        """Images that networks are trained on: those that are stored, or all their tiles."""
        return len(self.labels) * self.tiles**2

    def expanded(self) -> DistilledSet:
        """The set as networks are trained on it: each tile a whole image, with the label, weight and stage of the
        image that it is of (`medistill.artifacts.tiles`). A set without tiles is that set itself."""
        if self.tiles == 1:
            return self
        import torch

        from medistill.artifacts.tiles import enlarged

        rows = np.repeat(np.arange(len(self.labels)), self.tiles**2)
        return replace(
            self,
            images=enlarged(torch.from_numpy(self.images), self.tiles).numpy(),
            labels=self.labels[rows],
            weights=self.weights[rows],
            stage=self.stage[rows],
            soft_labels=None if self.soft_labels is None else self.soft_labels[rows],
            tiles=1,
        )

    def first(self, ipc: int) -> DistilledSet:
        """The set of the first images of each class, ``ipc`` of them or all where there are fewer: what a nested set
        was made for. Weights keep their ratios, with mean 1.

        Raises:
            UsageError: there are not so many, or none are asked for.
        """
        if not 1 <= ipc <= self.ipc:
            raise UsageError(
                f"the first {ipc} images of each class, of a set with {self.ipc}",
                expected=f"1 to {self.ipc}",
                do="take another number, or the whole set",
            )
        order = np.argsort(self.labels, kind="stable")
        sizes = np.bincount(self.labels)
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) - np.repeat(sizes.cumsum() - sizes, sizes)
        rows = place < ipc
        weights = self.weights[rows]
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            weights=(weights / weights.mean()).astype(np.float32) if weights.any() else weights,
            stage=self.stage[rows],
            soft_labels=None if self.soft_labels is None else self.soft_labels[rows],
            cut_to=self.cut_to if rows.all() else ipc,
        )

    def viewable(self) -> np.ndarray:
        """The images as uint8 (N, C, H, W), as they are stored."""
        return self.normalisation.invert(self.images)

    def as_dataset(self) -> TensorDataset:
        """The set for PyTorch: each item is an image, a label and a weight; of a set with tiles, each tile is an image.

        The image is float32 (C, H, W), normalised; the label int64, or float32 (classes,) probabilities where the set
        has soft labels (`torch.nn.functional.cross_entropy` takes both), or values to train on by |f(x) - y|^2 / 2
        where `by_values` says so, or a target vector to pretrain on by the mean of (f(x) - y)^2 where `by_targets`
        does, whose classes are `expanded().labels`; the weight float32, to multiply the loss with.
        All stages are in it: stage k shows
        ``torch.utils.data.Subset(dataset, np.flatnonzero(self.expanded().stage <= k))``.
        """
        import torch
        from torch.utils.data import TensorDataset

        whole = self.expanded()
        labels = whole.labels if whole.soft_labels is None else whole.soft_labels
        held = (whole.images, labels, whole.weights)
        own = held if whole is not self else tuple(array.copy() for array in held)
        return TensorDataset(*(torch.from_numpy(array) for array in own))

    def training_bytes(self) -> bytes:
        """All that decides what a network learns from the set, as bytes to take a digest of."""
        arrays = (self.images, self.labels, self.weights, self.stage, np.float64(self.student_lr), self.soft_labels)
        told = b"".join(array.tobytes() for array in (*arrays, *self._tile_tensors().values()) if array is not None)
        told += self.label_kind.encode() if self.by_values or self.by_targets else b""
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
            **self._label_tensor(),
            **self._tile_tensors(),
        }

    def _tile_tensors(self) -> dict[str, np.ndarray]:
        """What is stored of tiles: nothing where there are none."""
        return {} if self.tiles == 1 else {"tiles": np.array([self.tiles], np.int64)}

    def _label_tensor(self) -> dict[str, np.ndarray]:
        """The soft labels under a name that says what they are; nothing where there are none."""
        if self.soft_labels is None:
            return {}
        return {TENSOR_OF[self.label_kind]: self.soft_labels.astype(np.float32)}

    def file_bytes(self) -> bytes:
        """``images.safetensors`` as `save` writes it."""
        from safetensors.numpy import save

        return save({name: np.asarray(array, order="C") for name, array in self.tensors().items()}, {})

    def digest(self) -> str:
        """SHA-256 of ``images.safetensors`` as `save` writes it, by which audits and bundles name the set."""
        return hashlib.sha256(self.file_bytes()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``images.safetensors``, ``contact_sheet.png``, the statistics where there are any, and, last,
        ``manifest.json`` with their hashes."""
        tensors, held = folder / "images.safetensors", self.tensors()
        write_tensors(tensors, held)
        sheet = folder / "contact_sheet.png"
        picture = contact_sheet(held["viewable"], self.labels, self.class_names, tiles=self.tiles)
        write_atomically(sheet, lambda file: picture.save(file, format="PNG"))
        files = [tensors, sheet]
        if self.statistics is not None:
            write_bytes(folder / STATISTICS, self.statistics.to_bytes())
            files.append(folder / STATISTICS)
        write_json(
            folder / "manifest.json",
            {
                "schema": schema_of(held),
                "kind": "medistill distilled set",
                "class_names": list(self.class_names),
                "shape": list(self.images.shape),
                "ipc": self.ipc,
                **({} if self.tiles == 1 else {"tiles": self.tiles}),
                "files": {file.name: sha256_file(file) for file in files},
                "provenance": self.provenance.as_json(),
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> DistilledSet:
        """Read a set and check hashes, shapes, ranges and finiteness.

        Raises:
            ArtifactError: anything missing, altered, out of range, or of another schema.
        """
        told = read_set_folder(Path(folder))
        try:
            return cls.of_tensors(told.tensors, told.class_names, Provenance.read(told.provenance), told.statistics)
        except ArtifactError as error:
            raise unusable(told.folder, error.seen) from None

    @classmethod
    def of_tensors(
        cls,
        tensors: Mapping[str, np.ndarray],
        class_names: Sequence[str],
        provenance: Provenance,
        statistics: ClassStatistics | None = None,
    ) -> DistilledSet:
        """The inverse of `tensors`.

        Raises:
            ArtifactError: a tensor is missing, of another kind, or out of range.
        """
        kinds = [kind for kind, name in TENSOR_OF.items() if name in tensors]
        if len(kinds) > 1:
            raise ArtifactError(
                f"it has both {TENSOR_OF[kinds[0]]} and {TENSOR_OF[kinds[1]]}",
                expected="one of them, or neither",
                do="fetch it again",
            )
        kind: LabelKind = kinds[0] if kinds else "probabilities"
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
                soft_labels=tensors.get(TENSOR_OF[kind]),
                label_kind=kind,
                statistics=statistics,
                tiles=_tiles(tensors.get("tiles")),
            )
        except ArtifactError:
            raise
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"a part is missing or of another kind ({error})",
                expected="the tensors of a distilled set",
                do="fetch it again",
            ) from None


def _tiles(stored: np.ndarray | None) -> int:
    """Return the tiles of a side of each image.

    Raises:
        ValueError: what is stored is no whole number.
    """
    if stored is None:
        return 1
    if stored.dtype != np.int64 or stored.shape != (1,):
        raise ValueError(f"tiles are {stored.dtype} {stored.shape}, not int64 (1,)")
    return int(stored[0])
