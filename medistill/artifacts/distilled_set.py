"""DistilledSet: the synthetic images, what a recipient needs to train on them, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
from medistill.artifacts.class_statistics import FILE as STATISTICS
from medistill.artifacts.class_statistics import MOST_BYTES, ClassStatistics
from medistill.artifacts.contact_sheet import contact_sheet
from medistill.artifacts.encoder_summary import SHORT
from medistill.artifacts.field_kinds import DEEPEST
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import Provenance
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError, UsageError
from medistill.recipe.tiles import tile_misfit
from medistill.visible import MOST_NAME, steers

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

LabelKind = Literal["probabilities", "values", "targets"]
"""What soft labels are: probabilities to train on by the cross-entropy, values of the classes to train on by the
squared error, or target vectors to pretrain on, of a teacher's width and of no class."""
TENSOR_OF: dict[LabelKind, str] = {"probabilities": "soft_labels", "values": "label_values", "targets": "targets"}
"""What soft labels are -> under which name they are stored."""
SET_SCHEMA, NEW_SCHEMA, TARGETS_SCHEMA = 2, 3, 4
"""What is written: the second where labels are values or images are cut into tiles, the last where labels are target
vectors, so that no earlier version trains on classes in their place, or on images uncut."""
READABLE = (1, SET_SCHEMA, NEW_SCHEMA, TARGETS_SCHEMA)
"""Schemas that can be read. A set of schema 1 has no soft labels and no whitening, one of 1 or 2 neither label values
nor tiles, one of 1 to 3 no target vectors; else they are alike."""
SINCE = {"label_values": NEW_SCHEMA, "tiles": NEW_SCHEMA, "targets": TARGETS_SCHEMA}
"""Tensor -> the schema of the first sets that may have it."""
MOST_CLASSES = 10_000
MOST_MANIFEST_BYTES = 8 * 2**20
LIMIT = 1e4
"""Largest magnitude, in standard deviations, that a stored image may have."""
VALUE_LIMIT = 1e3
"""Largest magnitude that a label value, or a number of a target vector, may have."""
MOST_TARGETS = 16_384
"""Most numbers of a target vector: the pretrained network has an output for each."""
MOST_SHOWN_BYTES = 2**32
"""Most that the tiles of a set may take in memory once they are whole images: twice the largest bundle."""


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
        _check(self)

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

    @property
    def _schema(self) -> int:
        """The schema under which it is written: the first that has all that it holds."""
        return max(SINCE.get(name, SET_SCHEMA) for name in self.tensors())

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
            told = self.statistics.to_bytes()
            write_atomically(folder / STATISTICS, lambda file: _put(file, told))
            files.append(folder / STATISTICS)
        write_json(
            folder / "manifest.json",
            {
                "schema": self._schema,
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
        folder = Path(folder)
        if not (folder / "manifest.json").is_file() and (folder / "set" / "manifest.json").is_file():
            folder = folder / "set"
        manifest = read_json(folder / "manifest.json", "distilled set", most=MOST_MANIFEST_BYTES)
        if manifest.get("schema") not in READABLE:
            raise ArtifactError(
                f"{folder / 'manifest.json'} has schema {manifest.get('schema')!r}",
                expected=f"schema {', '.join(map(str, READABLE[:-1]))} or {READABLE[-1]}",
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
        for name, since in SINCE.items():
            if name in tensors and manifest["schema"] < since:
                raise _unusable(folder, f"it has {name.replace('_', ' ')}, and its schema is not {since}")
        cut = tensors["tiles"].tolist() if "tiles" in tensors else [1]
        if type(manifest.get("tiles", 1)) is not int or [manifest.get("tiles", 1)] != cut:
            raise _unusable(folder, "its images are not cut into the tiles that manifest.json gives")
        try:
            return cls.of_tensors(tensors, names, Provenance.read(provenance), _statistics(folder, hashes))
        except ArtifactError as error:
            raise _unusable(folder, error.seen) from None

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


def _statistics(folder: Path, hashes: Mapping[str, str]) -> ClassStatistics | None:
    """Return the statistics beside the images, where the manifest lists any."""
    if STATISTICS not in hashes:
        return None
    with (folder / STATISTICS).open("rb") as file:
        return ClassStatistics.from_bytes(file.read(MOST_BYTES + 1), str(folder / STATISTICS))


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


def _put(file: Path, data: bytes) -> None:
    file.write_bytes(data)


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
    elif (reached := max(images.max(), -images.min())) > LIMIT:
        problem = f"an image reaches {reached:.3g} standard deviations"
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
    elif misfit := tile_misfit(distilled.tiles, *images.shape[2:]):
        problem = misfit
    elif distilled.tiles > 1 and (shown := 4 * images.size * distilled.tiles**2) > MOST_SHOWN_BYTES:
        problem = f"its tiles would be {shown} bytes of images to train on, and {MOST_SHOWN_BYTES} are the most"
    elif whitening is not None and distilled.tiles > 1:
        problem = "its images are cut into tiles, and whitened, which mixes all pixels of an image"
    elif whitening is not None and whitening.mean.shape != (images[0].size,):
        problem = "its whitening does not fit its images"
    elif (of_statistics := _statistics_problem(distilled)) or distilled.soft_labels is None:
        problem = of_statistics
    else:
        problem = _soft_problem(distilled.soft_labels, distilled.label_kind, (count, len(distilled.class_names)))
    if problem:
        raise ArtifactError(
            f"this distilled set cannot be used: {problem}",
            expected="a finite, consistent set",
            do="make or fetch it again",
        )


def _statistics_problem(distilled: DistilledSet) -> str:
    statistics, named = distilled.statistics, distilled.provenance.statistics
    if statistics is None:
        return "" if named is None else "the class statistics that it names are not there"
    if statistics.digest != named:
        return "it holds other class statistics than it names"
    of, encoder = statistics.projection.record.encoder, distilled.provenance.encoder
    if encoder is None or encoder.sha256 != of:
        told = "none" if encoder is None else encoder.sha256[:SHORT]
        return f"its class statistics are of the encoder {of[:SHORT]}, and the set names {told}"
    if set(statistics.record.class_names) - set(distilled.class_names):
        return "its class statistics are of a class that it has not"
    return ""


def _soft_problem(soft: np.ndarray, kind: LabelKind, shape: tuple[int, int]) -> str:
    if kind == "targets":
        return _target_problem(soft, shape[0])
    if soft.dtype != np.float32 or soft.shape != shape:
        return f"soft labels are {soft.dtype} {soft.shape}, not float32 {shape}"
    if kind == "values":
        finite = bool(np.isfinite(soft).all()) and np.abs(soft).max() <= VALUE_LIMIT
        return "" if finite else f"a label value is not finite, or beyond {VALUE_LIMIT:g}"
    if not np.isfinite(soft).all() or soft.min() < 0 or np.abs(soft.sum(axis=1) - 1).max() > 1e-3:
        return "a row of the soft labels is not a probability distribution"
    return ""


def _target_problem(targets: np.ndarray, count: int) -> str:
    if targets.dtype != np.float32 or targets.ndim != 2 or len(targets) != count or not targets.shape[1]:
        return f"target vectors are {targets.dtype} {targets.shape}, not float32 ({count}, width)"
    if targets.shape[1] > MOST_TARGETS:
        return f"its target vectors have {targets.shape[1]} numbers each, and {MOST_TARGETS} are the most"
    finite = bool(np.isfinite(targets).all()) and np.abs(targets).max() <= VALUE_LIMIT
    return "" if finite else f"a number of a target vector is not finite, or beyond {VALUE_LIMIT:g}"
