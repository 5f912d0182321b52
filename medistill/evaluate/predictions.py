"""Predictions: what the networks of an arm said of each image, and what was true, kept privately in the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Trait
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.errors import ArtifactError, DataError
from medistill.recipe.arms import ARMS, ArmName

TRAITS: tuple[Trait, ...] = get_args(Trait)
"""What subgroups are formed by."""
_FACTS = ("images", "bytes", "epochs", "seconds", "settled", "tiles")
_SCHEMA = "2"


@dataclass(frozen=True)
class Truth:
    """What is true of the images of one split.

    Attributes:
        labels: int64 (N,), index into the class names.
        groups: int64 (N,), patients (or images, where no patient is known).
        traits: trait -> N short texts, as "PA"; "" where nothing says it. A trait that is missing is not known at all.
    """

    labels: np.ndarray
    groups: np.ndarray
    traits: Mapping[Trait, tuple[str, ...]]

    @property
    def patients(self) -> int:
        """How many patients the split has."""
        return len(np.unique(self.groups))


@dataclass(frozen=True)
class ArmPredictions:
    """What the S networks of one arm predict.

    Attributes:
        arm: what the networks were trained on.
        validation: float32 (S, Nv, C), softmax probabilities on the validation split.
        test: float32 (S, Nt, C), softmax probabilities on the test split.
        images: images in the arm's training set.
        bytes: of these images as they are stored.
        epochs: epochs that each network was trained for.
        seconds: training time of all S networks together.
        settled: no random number had a part in them, so that every seed gives the same network, and S is 1.
        tiles: of a side of each image, f: networks are trained on f^2 images in its place.
    """

    arm: ArmName
    validation: np.ndarray
    test: np.ndarray
    images: int
    bytes: int
    epochs: int
    seconds: float
    settled: bool = False
    tiles: int = 1


def check_predictions(arm: ArmPredictions, validation: Truth, test: Truth, classes: int) -> None:
    """Refuse predictions that do not fit the truth, or are not finite.

    Raises:
        DataError: another shape than (S, N, C), or NaN or infinite values, with how many.
    """
    for split, predicted, truth in (("validation", arm.validation, validation), ("test", arm.test, test)):
        wanted = (len(arm.test), len(truth.labels), classes)
        if predicted.shape != wanted or len(predicted) == 0:
            raise DataError(
                f"the predictions of arm '{arm.arm}' on the {split} split have shape {predicted.shape}",
                expected=f"at least one network, {wanted[1]} images and {wanted[2]} classes",
                do="run `medistill evaluate` again",
            )
        wrong = int(np.sum(~np.isfinite(predicted)))
        if wrong:
            networks = int(np.sum(~np.isfinite(predicted).all(axis=(1, 2))))
            raise DataError(
                f"{wrong} predictions of arm '{arm.arm}' on the {split} split are NaN or infinite, "
                f"in {networks} of its {len(predicted)} networks",
                expected="finite probabilities",
                do="lower the arm's learning rate (evaluate.lr, evaluate.raw_lr) and evaluate again; "
                "those networks diverged",
            )


def save_truth(folder: Path, validation: Truth, test: Truth) -> None:
    """Write ``truth.safetensors`` (mode 0600) to ``folder`` (mode 0700)."""
    splits = {"validation": validation, "test": test}
    arrays = {
        f"{split}_{name}": getattr(truth, name).astype(np.int64)
        for split, truth in splits.items()
        for name in ("labels", "groups")
    }
    traits = {f"{split}_traits": json.dumps(dict(truth.traits)) for split, truth in splits.items()}
    keep_tensors(private_folder(folder) / "truth.safetensors", arrays, {"schema": _SCHEMA, **traits})


def load_truth(folder: Path) -> tuple[Truth, Truth]:
    """Read what is true of the validation and of the test split.

    Raises:
        ArtifactError: missing, damaged, or of another schema.
    """
    path = folder / "truth.safetensors"
    arrays, metadata = _read(path)
    try:
        validation, test = (
            Truth(
                arrays[f"{split}_labels"],
                arrays[f"{split}_groups"],
                {trait: tuple(texts) for trait, texts in json.loads(metadata[f"{split}_traits"]).items()},
            )
            for split in ("validation", "test")
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise _foreign(path, f"it lacks something ({error})") from None
    return validation, test


def save_arm(folder: Path, predictions: ArmPredictions) -> None:
    """Write ``<arm>.safetensors`` (mode 0600) to ``folder`` (mode 0700)."""
    keep_tensors(
        private_folder(folder) / f"{predictions.arm}.safetensors",
        {"validation": predictions.validation.astype(np.float32), "test": predictions.test.astype(np.float32)},
        {"schema": _SCHEMA, **{fact: repr(getattr(predictions, fact)) for fact in _FACTS}},
    )


def load_arms(folder: Path) -> list[ArmPredictions]:
    """Read every arm that lies in ``folder``, in the order of `ARMS`.

    Raises:
        ArtifactError: no arm is there, or one is damaged or of another schema.
    """
    present = [arm for arm in ARMS if (folder / f"{arm}.safetensors").is_file()]
    if not present:
        raise ArtifactError(
            f"{folder} holds no predictions",
            expected=f"at least one of {', '.join(f'{arm}.safetensors' for arm in ARMS)}",
            do="run `medistill evaluate` on the run first",
        )
    return [_load_arm(folder / f"{arm}.safetensors", arm) for arm in present]


def _load_arm(path: Path, arm: ArmName) -> ArmPredictions:
    arrays, metadata = _read(path)
    try:
        return ArmPredictions(
            arm=arm,
            validation=arrays["validation"],
            test=arrays["test"],
            images=int(metadata["images"]),
            bytes=int(metadata["bytes"]),
            epochs=int(metadata["epochs"]),
            seconds=float(metadata["seconds"]),
            settled=metadata.get("settled") == repr(True),
            tiles=int(metadata.get("tiles", 1)),
        )
    except (KeyError, ValueError) as error:
        raise _foreign(path, f"{error}") from None


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    arrays, metadata = read_checked(path, "predictions")
    if metadata.get("schema") != _SCHEMA:
        raise _foreign(path, f"its schema is {metadata.get('schema')!r}, not {_SCHEMA!r}")
    return arrays, metadata


def _foreign(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be used: {why}",
        expected="predictions as this version of medistill writes them",
        do="remove that file and run `medistill evaluate` again",
    )
