"""Statistics classifier: a linear classifier straight from the class statistics of a set, without training."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np

from medistill.artifacts.classifier import Classifier, ClassifierProvenance
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.new_folder import new_folder, refuse_taken
from medistill.encoders.store import stored_encoder
from medistill.errors import UsageError
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.statistics.linear import linear_classifier
from medistill.workflow.environment import versions
from medistill.workflow.train_classifier import for_any_site


def statistics_classifier(
    distilled: DistilledSet,
    recipe: Recipe,
    *,
    out: str | Path,
    signer: str | None = None,
    progress: Progress = Silent(),
) -> Classifier:
    """Make a classifier of class statistics: the class whose noisy mean is nearest, by what the encoder sees.

    It is post-processing of a private release, so it has the set's guarantee, whatever images say.

    Args:
        distilled: a set that carries statistics, of at least two classes.
        recipe: how images are read; its network becomes the probe of the statistics' encoder.
        out: folder of the classifier, new or empty.
        signer: as for `train_classifier`.
        progress: told what is done.

    Raises:
        UsageError: the set carries no statistics of all its classes, its encoder is not in the cache, or ``out`` holds
            something already.
        ArtifactError: they are not of the features that the encoder gives, or no finite classifier follows from them.
    """
    folder = Path(out)
    refuse_taken(folder)
    started, statistics = time.perf_counter(), distilled.statistics
    names = () if statistics is None else statistics.record.class_names
    if statistics is None or set(names) != set(distilled.class_names) or len(names) < 2:
        raise UsageError(
            "the set carries no class statistics"
            if statistics is None
            else f"the class statistics of the set are of {', '.join(names)}, and its classes are "
            f"{', '.join(distilled.class_names)}",
            expected="statistics of every class of a set with two or more, as the method private-means makes them",
            do="leave out --from statistics, and train on the images",
        )
    encoder = stored_encoder(statistics.projection.record.encoder)
    statistics.projection.refuse_other_encoder(encoder.sha256, len(encoder.centre))
    order = [names.index(name) for name in distilled.class_names]
    weights, biases = (array[order] for array in linear_classifier(statistics))
    read = for_any_site(recipe, distilled, encoder.sha256)
    network = read.network.model_copy(update={"name": "probe", "encoder": encoder.sha256, "projection": ""})
    data = statistics.to_bytes()
    classifier = Classifier(
        weights={"weight": np.ascontiguousarray(weights), "bias": np.ascontiguousarray(biases)},
        class_names=distilled.class_names,
        shape=distilled.images.shape[1:],
        normalisation=distilled.normalisation,
        recipe=read.model_copy(update={"network": network}),
        images=0,
        bytes=len(data),
        epochs=0,
        seconds=time.perf_counter() - started,
        provenance=ClassifierProvenance(
            set=distilled.provenance,
            set_verified=signer is not None,
            set_signer=signer,
            set_digest=hashlib.sha256(data).hexdigest(),
            device="cpu",
            versions=versions(),
        ),
    )
    progress.say("The classifier is worked out from the class statistics; no image was used.")
    with new_folder(folder) as written:
        classifier.save(written)
    return classifier
