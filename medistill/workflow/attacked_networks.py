"""Attacked networks: what networks that learnt from a set, or from its controls, say of images that are asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import nn

from medistill.evaluate.arms import Arms
from medistill.privacy.confidence import true_class_confidence
from medistill.privacy.membership import SOURCES, Source
from medistill.training.context import Context
from medistill.training.ensemble import Outputs, Store, TrainingJob
from medistill.training.fresh_network import probabilities
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

SAID = "what attacked networks said"
"""How messages call what is kept of them."""
_CONFIDENCE = "confidence"


def attack_jobs(
    arms: Arms,
    count: int,
    shown: LabelledImages,
    labels: np.ndarray,
    context: Context,
    store: Callable[[Source, int], Store | None] = lambda *_: None,
) -> list[TrainingJob]:
    """Return the jobs of the networks of every source. Random originals are the same for each network, so that it is
    known who was a member.

    Args:
        arms: what each source is.
        count: networks of each; of probes, which would all be the same, one.
        shown: the images that they are asked about.
        labels: (N,), of which class they are asked to be sure.
        context: network, precision and device.
        store: source and number -> where the answers lie.
    """

    if context.spec.encoder is not None:
        count = 1

    def outputs(network: nn.Module) -> Mapping[str, np.ndarray]:
        said = probabilities(network, shown, context.spec, context.recipe, context.device)
        return {_CONFIDENCE: true_class_confidence(said, labels)}

    def job(source: Source, number: int) -> TrainingJob:
        return TrainingJob(
            group=source,
            number=number,
            display_name=f"{source}, network {number + 1} of {count}",
            epochs=arms.epochs(source),
            steps=arms.shown(source),
            training=lambda: arms.training_set(source, 0 if source == "random" else number),
            rng=lambda: generator(context.recipe.seed, "attacked", source, number),
            outputs=outputs,
            store=store(source, number),
        )

    return [job(source, number) for source in SOURCES for number in range(count)]


def confidences(networks: Sequence[Outputs]) -> list[np.ndarray]:
    """Return what each network of a source says: its confidence (N,) about every image."""
    return [one.arrays[_CONFIDENCE] for one in networks]
