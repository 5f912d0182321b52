"""Queued: images compared in the eyes of networks of a queue, which learn meanwhile."""

from __future__ import annotations

from medistill.engine.objectives.class_term import ClassTerm
from medistill.engine.objectives.mean_features import MeanFeatures
from medistill.engine.objectives.queued import Queued
from medistill.engine.sources.queue import Queue, QueueSettings
from medistill.methods.comparing.compare import Compared
from medistill.methods.comparing.trained_networks import training_images
from medistill.networks.registry import build_network
from medistill.recipe.comparing import QueueRecipe
from medistill.training.randomness import generator


def queued(compared: Compared, settings: QueueRecipe, weight: float) -> Queued:
    """Return the objective.

    Args:
        compared: what it is made from.
        settings: of the queue.
        weight: of the class term, for each percent of a network's accuracy.
    """
    context = compared.context
    spec, seed = context.spec, context.recipe.seed
    network = build_network(spec, generator(seed, "student"))
    queue = Queue(
        fresh=compared.fresh,
        originals=training_images(compared.context, compared.class_ids, compared.normalisation),
        settings=QueueSettings(
            first=settings.first,
            most=settings.most,
            every=settings.every,
            trained=settings.trained,
            steps=settings.steps,
            batch=settings.batch_size,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        ),
        iterations=compared.settings.iterations,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        seed=seed,
    )
    term = ClassTerm(queue, context.recipe.augmentation, spec.classes, seed)
    return Queued(queue, compared.features(MeanFeatures, queue), term, weight)
