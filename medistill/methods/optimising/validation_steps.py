"""Validation steps: the images at every outer step that was scored, kept so that a study can test each of them.

Papers on trajectory matching report the best test accuracy among these. Here the validation split alone chooses the
set, and that maximum is only told: it was picked on the test images that it is measured on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.errors import ArtifactError
from medistill.training.images import LabelledImages

FOLDER = "looks"


def keep_step(run: Path, step: int, images: LabelledImages, student_lr: float) -> None:
    """Write the images after outer step ``step``, as they would be evaluated."""
    soft = {} if images.soft_labels is None else {"soft_labels": images.soft_labels.cpu().numpy()}
    stage = torch.zeros_like(images.labels) if images.stage is None else images.stage
    tensors = {
        "images": images.pixels.cpu().numpy(),
        "labels": images.labels.cpu().numpy(),
        "stage": stage.cpu().numpy(),
        "student_lr": np.array([student_lr], np.float64),
        **soft,
    }
    keep_tensors(private_folder(run / FOLDER) / f"{step:06d}.safetensors", tensors, {})


def kept_steps(run: Path, distilled: DistilledSet) -> dict[int, DistilledSet]:
    """Return step -> the set with the images of that step in place of its own, for every step that was kept.

    Steps of earlier stages, at fewer images than the set has, are left out.

    Raises:
        ArtifactError: the images of a step are damaged.
    """
    files = sorted((run / FOLDER).glob("*.safetensors"))
    sets = {int(path.stem): _as_set(path, distilled) for path in files if path.stem.isdecimal()}
    return {step: of_step for step, of_step in sets.items() if of_step is not None}


def _as_set(path: Path, distilled: DistilledSet) -> DistilledSet | None:
    tensors, _ = read_checked(path, "images of a look")
    try:
        if len(tensors["labels"]) != len(distilled.labels):
            return None
        return replace(
            distilled,
            images=tensors["images"],
            labels=tensors["labels"],
            stage=tensors["stage"],
            student_lr=float(tensors["student_lr"][0]),
            soft_labels=tensors.get("soft_labels"),
        )
    except KeyError as error:
        raise ArtifactError(
            f"{path} holds no {error}",
            expected="the images of a look as this version of medistill writes them",
            do="remove that folder: the maximum is then not told",
        ) from None
