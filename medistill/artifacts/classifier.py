"""Classifier: a network that was trained on a distilled set, and how an image has to be prepared for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ConfigDict

from medistill.artifacts.atomic import read_json, read_tensors, sha256_file, write_json, write_tensors
from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import Provenance, StatedProvenance
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError, RecipeError
from medistill.recipe import Recipe, validate_recipe

CLASSIFIER_SCHEMA = 1
WEIGHTS = "weights.safetensors"
PREPROCESSING = "preprocessing.json"
TESTED = "classifier.json"
"""Beside the evaluation of a classifier: which one was tested."""
COST = ("images", "bytes", "epochs", "seconds")


class ClassifierProvenance(Record):
    """What a classifier says of its making."""

    model_config = ConfigDict(extra="ignore")

    set: StatedProvenance = Provenance()
    """What the set that it was trained on says of its own making."""
    set_verified: bool | None = None
    """Whether a trusted key vouched for that set."""
    set_signer: str | None = None
    """Fingerprint of that key; None where none did."""
    set_digest: str | None = None
    """SHA-256 of all that decides what a network learns from the set, or from what was taken of it."""
    first: int | None = None
    """Images of each class that were taken of the set, its first ones; None where all were."""
    lr: float | None = None
    """Learning rate at the start of the training; none of a probe, which is fitted."""
    penalty: float | None = None
    """L2 penalty under which a probe was fitted."""
    encoder: EncoderSummary | None = None
    """The frozen encoder whose features a probe takes, and where it can be had; its weights are not kept."""
    device: str | None = None
    """"cpu" or "cuda"."""
    versions: dict[str, str] | None = None


@dataclass(frozen=True)
class Classifier:
    """A trained classifier. Its probabilities are the softmax of the network's logits, without a temperature.

    Attributes:
        weights: name -> float32 array, as PyTorch's ``state_dict`` of the network names them.
        class_names: one a logit.
        shape: (C, H, W) of an image.
        normalisation: what is done to grey values before the network sees them.
        recipe: network, augmentation and schedule that it was trained with, and how files become images.
        images: images in its training set.
        bytes: of these as they are stored.
        epochs: epochs of its training; 0 of a probe, which is fitted.
        seconds: its training time.
        provenance: what it was trained on, and with what. No patient's identifier.
    """

    weights: dict[str, np.ndarray] = field(repr=False)
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    normalisation: Normalisation
    recipe: Recipe
    images: int
    bytes: int
    epochs: int
    seconds: float
    provenance: ClassifierProvenance

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ArtifactError(
                f"this classifier cannot be used: {problem}",
                expected="finite float32 weights and a normalisation that fits the images",
                do="train it again",
            )

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors``, the whitening where there is one, and, last, ``preprocessing.json``."""
        write_tensors(folder / WEIGHTS, self.weights)
        if self.normalisation.whitening is not None:
            self.normalisation.whitening.save(folder)
        write_json(
            folder / PREPROCESSING,
            {
                "schema": CLASSIFIER_SCHEMA,
                "kind": "medistill classifier",
                "class_names": list(self.class_names),
                "shape": list(self.shape),
                "normalisation": self.normalisation.as_json(),
                "probabilities": "softmax of the logits, temperature 1",
                "files": {WEIGHTS: sha256_file(folder / WEIGHTS)},
                "training": {name: getattr(self, name) for name in COST},
                "recipe": self.recipe.model_dump(mode="json"),
                "provenance": self.provenance.sparse_json(),
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> Classifier:
        """Read a classifier and check its hash, shapes and finiteness.

        Raises:
            ArtifactError: anything missing, altered, not finite, or of another schema.
        """
        folder = Path(folder)
        known = read_json(folder / PREPROCESSING, "classifier")
        if known.get("schema") != CLASSIFIER_SCHEMA:
            raise ArtifactError(
                f"{folder / PREPROCESSING} has schema {known.get('schema')!r}",
                expected=f"schema {CLASSIFIER_SCHEMA}",
                do="read it with the version of medistill that wrote it",
            )
        weights, _ = read_tensors(folder / WEIGHTS, "classifier")
        try:
            if sha256_file(folder / WEIGHTS) != known["files"][WEIGHTS]:
                raise _unusable(folder, f"{WEIGHTS} is not the one that {PREPROCESSING} lists")
            channels, height, width = (int(side) for side in known["shape"])
            return cls(
                weights=weights,
                class_names=tuple(map(str, known["class_names"])),
                shape=(channels, height, width),
                normalisation=Normalisation.from_json(known["normalisation"], folder),
                recipe=validate_recipe(known["recipe"], f"the recipe inside {folder}"),
                provenance=ClassifierProvenance.from_json(known["provenance"], "what it says of its making"),
                images=int(known["training"]["images"]),
                bytes=int(known["training"]["bytes"]),
                epochs=int(known["training"]["epochs"]),
                seconds=float(known["training"]["seconds"]),
            )
        except (ArtifactError, RecipeError) as error:
            raise _unusable(folder, error.seen) from None
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(folder, f"a part is missing or of another kind ({error})") from None


def _unusable(folder: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{folder} cannot be used: {why}",
        expected="a classifier as `medistill train` wrote it",
        do="train it again, or fetch it again",
    )


def _problem(classifier: Classifier) -> str:
    mean, std = classifier.normalisation.mean, classifier.normalisation.std
    whitening = classifier.normalisation.whitening
    if not classifier.weights or any(array.dtype != np.float32 for array in classifier.weights.values()):
        return "its weights are missing or not float32"
    if not all(np.isfinite(array).all() for array in classifier.weights.values()):
        return "its weights hold NaN or infinite values"
    if min(classifier.shape) < 1 or classifier.shape[1] != classifier.shape[2]:
        return f"its images have the shape {classifier.shape}, not (C, H, H)"
    if not len(mean) == len(std) == classifier.shape[0] or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        return "its normalisation does not fit its channels"
    if whitening is not None and whitening.mean.shape != (np.prod(classifier.shape),):
        return "its whitening does not fit its images"
    if not classifier.class_names or len(set(classifier.class_names)) < len(classifier.class_names):
        return "its classes are missing or named alike"
    return ""
