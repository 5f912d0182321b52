"""Teachers: networks trained on the training split, whose predictions become the soft labels of images.

They are trained on patients' images and stay in the run: only what they predict leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import nn

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.network_keys import what_decides
from medistill.evaluate.protocol import raw_schedule
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import build_network
from medistill.training.context import Context
from medistill.training.ensemble import JobRunner, OutputsFile, TrainingJob
from medistill.training.fresh_network import TrainingSet, logits
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

FOLDER = "teacher"


class Teaching(Protocol):
    """How many teachers there are, and how their answers are tempered.

    Attributes:
        teachers: how many.
        temperature: what their logits are divided by.
    """

    @property
    def teachers(self) -> int: ...

    @property
    def temperature(self) -> float: ...


def soft_labels(images: np.ndarray, normalisation: Normalisation, context: Context, teaching: Teaching) -> np.ndarray:
    """Return probabilities float32 (N, classes): the mean over the teachers of softmax(logits / temperature).

    Each teacher is trained as a network of the evaluation is on all originals, with numbers of its own, and kept in
    ``context.out/teacher``; one that is there is not trained again. Probes would all be the same: of them there is one.

    Args:
        images: normalised float32 (N, C, H, W).
        normalisation: what the teachers see of the originals.
        context: corpus, recipe, network and device, and the folder of the run.
        teaching: of the recipe's method.

    Raises:
        DivergedError: a teacher left the finite numbers.
    """
    recipe, spec, device = context.recipe, context.spec, context.device
    trained = train_teachers(normalisation, context, teaching)
    shown = LabelledImages.of_floats(
        torch.from_numpy(images).to(device),
        torch.zeros(len(images), dtype=torch.int64, device=device),
        normalisation=normalisation,
    )
    total = torch.zeros(len(images), spec.classes, device=device)
    for job in trained.jobs:
        network = build_network(spec, job.rng(), device)
        FlatParameters(network).load(torch.from_numpy(trained.done[job].arrays["parameters"]).to(device))
        total += torch.softmax(logits(network, shown, spec, recipe, device) / teaching.temperature, dim=1)
    mean: np.ndarray = (total / len(trained.jobs)).cpu().numpy()
    return mean


def train_teachers(normalisation: Normalisation, context: Context, teaching: Teaching) -> JobRunner:
    """Train the teachers that are not there yet, all ranks of the context together, and return them.

    Args:
        normalisation: what they see of the originals.
        context: as for `soft_labels`.
        teaching: likewise.

    Raises:
        DivergedError: a teacher left the finite numbers.
    """
    runner = JobRunner(_jobs(normalisation, context, teaching.teachers), context.progress.say)
    runner.run(context, "Training teachers")
    return runner


def _jobs(normalisation: Normalisation, context: Context, asked: int) -> list[TrainingJob]:
    recipe, folder = context.recipe, private_folder(context.out / FOLDER)
    teachers = 1 if context.spec.encoder is not None else asked
    key = hashlib.sha256(what_decides(context) + repr(normalisation.as_json()).encode()).hexdigest()

    @cache
    def training() -> TrainingSet:
        originals = LabelledImages.of_split(context.corpus, "train", normalisation, context.device)
        return TrainingSet(originals, raw_schedule(recipe.evaluate))

    def parameters(network: nn.Module) -> Mapping[str, np.ndarray]:
        return {"parameters": FlatParameters(network).values.cpu().numpy()}

    def job(number: int) -> TrainingJob:
        return TrainingJob(
            group="teacher",
            number=number,
            display_name=f"teacher {number + 1} of {teachers}",
            epochs=recipe.evaluate.raw_epochs,
            steps=1,
            training=training,
            rng=lambda: generator(recipe.seed, "teacher", number),
            outputs=parameters,
            store=OutputsFile(folder / f"teacher_{number:02d}.safetensors", key, "a teacher"),
        )

    return [job(number) for number in range(teachers)]
