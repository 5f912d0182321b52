"""Evaluate a classifier: what a network that was trained elsewhere says of one's own images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder, write_json
from medistill.artifacts.classifier import TESTED, Classifier
from medistill.artifacts.corpus import Corpus, Split
from medistill.errors import DivergedError
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.network_keys import ArmStore
from medistill.evaluate.predictions import ArmPredictions
from medistill.networks.restored import classifier_spec, restored_network
from medistill.progress import Progress, Silent, Task
from medistill.recipe import Recipe
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.training.encoded import encode_corpus
from medistill.training.ensemble import Outputs
from medistill.training.fresh_network import probabilities
from medistill.training.images import LabelledImages
from medistill.workflow.compatibility import MadeOf, refuse_misfit
from medistill.workflow.corpus_record import keep_tested_corpus
from medistill.workflow.evaluate import OTHER_CORPUS, refuse_another_evaluation, write_evaluation
from medistill.workflow.originals import apart_from_originals

AT_ONCE = 256
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
        UsageError: ``out`` holds a finished evaluation of something else, or its encoder is not on this machine.
        DivergedError: a probability is not finite.
    """
    refuse_misfit(MadeOf.of_classifier(classifier), corpus, "evaluate")
    apart = apart_from_originals(classifier.provenance.set.corpus, corpus, recipe, None)
    if apart.originals != "apart":
        progress.say(OTHER_CORPUS)
    progress.say(OWN_THRESHOLDS if len(corpus.rows("val")) else NO_THRESHOLDS)
    if not classifier.provenance.set_verified:
        progress.say(UNVERIFIED)
    folder, spec = private_folder(Path(out) / "evaluation"), classifier_spec(classifier)
    context = Context(corpus, recipe, spec, choose_device(device), folder, progress)
    encode_corpus(context)
    outputs = _outputs(classifier, context)
    arm = ArmPredictions(
        arm="distilled",
        validation=outputs.arrays["validation"][None],
        test=outputs.arrays["test"][None],
        images=classifier.images,
        bytes=classifier.bytes,
        epochs=classifier.epochs,
        seconds=classifier.seconds,
        settled=spec.encoder is not None,
    )
    tested = {"network": spec.words, "set_digest": classifier.provenance.set_digest}
    write_json(folder / TESTED, tested, private=True)
    keep_tested_corpus(corpus, Path(out))
    return write_evaluation(context, [arm], apart, made=classifier.provenance.set)


def _outputs(classifier: Classifier, context: Context) -> Outputs:
    """Return what the classifier says of the validation and the test images: as it was kept, or asked now.

    Raises:
        UsageError: the folder holds a finished evaluation of something else.
    """
    damaged: list[str] = []
    store = ArmStore(context.out, _key(classifier, context)).network("distilled", 0)
    kept = store.load(damaged.append)
    for words in damaged:
        context.progress.say(words)
    refuse_another_evaluation(context.out, known=kept is not None or bool(damaged))
    if kept is not None:
        return kept
    splits: dict[str, Split] = {"validation": "val", "test": "test"}
    total = sum(len(context.corpus.rows(split)) for split in splits.values())
    with context.progress.task("Testing the classifier", total) as task:
        arrays = {name: _predictions(classifier, split, context, task) for name, split in splits.items()}
    outputs = Outputs(arrays, classifier.seconds)
    store.save(outputs)
    return outputs


def _predictions(classifier: Classifier, split: Split, context: Context, task: Task) -> np.ndarray:
    """Return probabilities float32 (N, C) of the images of a split."""
    corpus, network = context.corpus, restored_network(classifier, context.device)
    rows = corpus.rows(split)
    pieces = [np.empty((0, len(corpus.class_names)), np.float32)]
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        images = LabelledImages.of_corpus(corpus, some, classifier.normalisation, context.device)
        pieces.append(probabilities(network, images, context.spec, context.recipe, context.device))
        task.advance(len(some))
    predicted = np.concatenate(pieces)
    if not np.isfinite(predicted).all():
        raise DivergedError(
            "the classifier gives probabilities that are not finite",
            expected="finite probabilities",
            do="train it again: with another --seed, or on a set that was distilled again",
        )
    return predicted


def _key(classifier: Classifier, context: Context) -> str:
    """Return what decides the predictions."""
    constants = [classifier.normalisation.as_json(), classifier.recipe.network.model_dump(), context.corpus.content]
    constants += [context.recipe.compute.model_dump(), context.device.type]
    digest = hashlib.sha256(json.dumps(constants, sort_keys=True).encode())
    for name, array in sorted(classifier.weights.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
