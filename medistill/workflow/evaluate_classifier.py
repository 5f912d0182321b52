"""Evaluate a classifier: what a network that was trained elsewhere says of one's own images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medistill.artifacts.atomic import private_folder, write_json
from medistill.artifacts.classifier import TESTED, Classifier
from medistill.artifacts.corpus import Corpus, Split
from medistill.errors import DivergedError
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.predictions import ArmPredictions
from medistill.evaluate.protocol import Answers, probabilities
from medistill.networks.restored import classifier_spec, restored_network
from medistill.progress import Progress, Silent, Task
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.training.images import LabelledImages
from medistill.workflow.corpus_record import keep_tested_corpus
from medistill.workflow.evaluate import OTHER_CORPUS, check_fit, write_evaluation
from medistill.workflow.originals import apart_from_originals
from medistill.workflow.stored_networks import Place, StoredNetworks

TOGETHER = 256
"""Images between two looks at the clock."""
NO_THRESHOLDS = (
    "Every image is tested, so that none is left to choose thresholds on, and the classifier comes with none: what is "
    "told needs no threshold. `--split test` chooses them on the validation split of this corpus."
)
OWN_THRESHOLDS = (
    "The thresholds of this classifier are chosen on the validation split of this corpus: the figures at a threshold "
    "hold for whoever chooses one on images of their own, and not for the classifier as it was received."
)

UNVERIFIED = "No trusted key vouches for the set that this classifier was trained on: its sender is unverified."


def evaluate_classifier(
    classifier: Classifier,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    device: str = "auto",
    progress: Progress = Silent(),
) -> Evaluation:
    """Test a classifier on the test split of a corpus, with thresholds chosen on its validation split, if it has one.

    The evaluation has one arm, ``distilled``, of one network: nothing is trained, so there is nothing to compare with.

    Args:
        recipe: what `prepare` read the corpus with, and the settings of the statistics.
        out: folder of the results; what was answered is kept there, privately.

    Raises:
        DataError: the classifier and the corpus have other classes or image shapes.
        ArtifactError: the weights are of another network.
        UsageError: ``out`` holds a finished evaluation of something else.
        DivergedError: a probability is not finite.
    """
    check_fit("classifier", classifier.class_names, classifier.shape, corpus)
    apart = apart_from_originals(classifier.provenance.set.corpus, corpus, recipe, None)
    if apart.originals != "apart":
        progress.say(OTHER_CORPUS)
    progress.say(OWN_THRESHOLDS if len(corpus.rows("val")) else NO_THRESHOLDS)
    if not classifier.provenance.set_verified:
        progress.say(UNVERIFIED)
    place, spec = choose_device(device), classifier_spec(classifier)
    network = restored_network(classifier, place)
    folder = private_folder(Path(out) / "evaluation")
    own = Place(folder, _key(classifier, corpus, recipe, place))
    stored = StoredNetworks({"distilled": own}, 1, progress.say)
    stored.refuse_another(folder, "distilled")
    if stored.missing:
        splits: tuple[Split, ...] = ("val", "test")
        with progress.task("Testing the classifier", sum(len(corpus.rows(split)) for split in splits)) as task:
            told = tuple(_told(network, classifier, corpus, split, recipe, place, task) for split in splits)
        stored.add("distilled", 0, Answers(told, classifier.seconds))
    [answered] = stored.of("distilled")
    arm = ArmPredictions(
        arm="distilled",
        validation=answered.probabilities[0][None],
        test=answered.probabilities[1][None],
        images=classifier.images,
        bytes=classifier.bytes,
        epochs=classifier.epochs,
        seconds=classifier.seconds,
    )
    tested = {"network": spec.words, "set_digest": classifier.provenance.set_digest}
    write_json(folder / TESTED, tested, private=True)
    keep_tested_corpus(corpus, Path(out))
    parameters = sum(array.size for array in classifier.weights.values())
    return write_evaluation(
        folder,
        [arm],
        apart,
        recipe,
        made=classifier.provenance.set,
        network=spec.words,
        parameters=parameters,
        progress=progress,
    )


def _told(
    network: nn.Module,
    classifier: Classifier,
    corpus: Corpus,
    split: Split,
    recipe: Recipe,
    place: torch.device,
    task: Task,
) -> np.ndarray:
    """Probabilities float32 (N, C) of the images of a split."""
    rows = corpus.rows(split)
    pieces = [np.empty((0, len(corpus.class_names)), np.float32)]
    for start in range(0, len(rows), TOGETHER):
        some = rows[start : start + TOGETHER]
        images = LabelledImages.of_corpus(corpus, some, classifier.normalisation, place)
        pieces.append(probabilities(network, images, classifier_spec(classifier), recipe, place))
        task.advance(len(some))
    told = np.concatenate(pieces)
    if not np.isfinite(told).all():
        raise DivergedError(
            "the classifier gives probabilities that are not finite",
            expected="finite probabilities",
            do="train it again: with another --seed, or on a set that was distilled again",
        )
    return told


def _key(classifier: Classifier, corpus: Corpus, recipe: Recipe, place: torch.device) -> str:
    """What decides the answers."""
    constants = [classifier.normalisation.as_json(), classifier.recipe.network.model_dump(), corpus.content]
    constants += [recipe.compute.model_dump(), place.type]
    digest = hashlib.sha256(json.dumps(constants, sort_keys=True).encode())
    for name, array in sorted(classifier.weights.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
