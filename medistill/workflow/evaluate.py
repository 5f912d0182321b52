"""Evaluate: train fresh networks on each arm, test them on the real test split, compare."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder, read_tensors, write_json, write_tensors
from medistill.artifacts.corpus import Corpus, Split
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError
from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.predictions import ARMS, Arm, ArmPredictions, Truth, save_arm, save_truth
from medistill.evaluate.protocol import Answers, TrainingSet, answers, held_out, training_set
from medistill.networks.flat import FlatParameters
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.experts import network_spec


def evaluate(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    network: NetworkFactory | None = None,
    device: str = "auto",
    progress: Progress = Silent(),
) -> Evaluation:
    """Compare networks trained on the distilled set, on random real images and on the raw training split.

    Each network's predictions are kept under ``out/evaluation/networks`` when it is trained; a run that was
    interrupted, or is asked for more networks, trains only what is missing, and each network draws its random numbers
    from the seed, the arm and its own number.

    Args:
        network: a network of the user's own (see `train_experts`); None takes the recipe's.

    Raises:
        DataError: the set and the corpus have other classes or image shapes.
    """
    _check_fit(distilled, corpus)
    folder, place = private_folder(Path(out) / "evaluation"), choose_device(device)
    pieces = private_folder(folder / "networks")
    spec = network_spec(corpus, recipe, network)
    key = _key(distilled, corpus, recipe, spec, place)
    shown = held_out(corpus, distilled.normalisation, place)
    truths = (_truth(corpus, "val"), _truth(corpus, "test"))
    seeds = range(recipe.evaluate.networks)

    @cache
    def raw() -> LabelledImages:
        return LabelledImages.of_split(corpus, "train", distilled.normalisation, place)

    paths = {(arm, k): pieces / f"{arm}_{k:03d}.safetensors" for arm in ARMS for k in seeds}
    found = {which: _load_answers(path, key) for which, path in paths.items()}
    epochs = {arm: recipe.evaluate.raw_epochs if arm == "raw" else recipe.evaluate.epochs for arm in ARMS}
    sizes: dict[Arm, int] = {"raw": len(corpus.rows("train")), "random": len(distilled.labels)}
    sizes["distilled"] = sizes["random"]
    shows = {arm: epochs[arm] * sizes[arm] for arm in ARMS}  # images that a network sees: what its time goes by
    done = sum(shows[arm] for (arm, _), told in found.items() if told)
    with progress.task("Evaluating", sum(shows.values()) * len(seeds), done=done) as task:
        for (arm, k), path in paths.items():
            if found[arm, k] is not None:
                continue
            training: TrainingSet = training_set(arm, distilled, corpus, recipe, k, place, raw)
            last = training.schedule.epochs

            def tick(epoch: int, flat: FlatParameters, arm: Arm = arm, k: int = k, last: int = last) -> None:
                if epoch < last:
                    task.advance(sizes[arm], figures=f"{arm}, network {k + 1} of {len(seeds)}")

            numbers = generator(recipe.seed, "evaluate", arm, k)
            told = answers(training, shown, spec, recipe, numbers, place, tick)
            _save_answers(path, told, key)
            found[arm, k] = told
            task.advance(sizes[arm], figures=f"{arm}, network {k + 1} of {len(seeds)}")
    arms = [
        _together(arm, [told for (of, _), told in found.items() if of == arm and told], sizes[arm], epochs[arm])
        for arm in ARMS
    ]
    save_truth(folder, *truths)
    for predictions in arms:
        save_arm(folder, predictions)
    progress.say("Comparing the arms.")
    evaluation = compare(arms, *truths, corpus.class_names, recipe.evaluate, seed=recipe.seed)
    write_json(folder / "evaluation.json", evaluation.as_json(), private=True)
    return evaluation


def _check_fit(distilled: DistilledSet, corpus: Corpus) -> None:
    if distilled.class_names != corpus.class_names:
        raise DataError(
            f"the set has the classes {', '.join(distilled.class_names)}; "
            f"the corpus has {', '.join(corpus.class_names)}",
            expected="the same classes in the same order",
            do="name the set's classes with --classes, or evaluate on another corpus",
        )
    if distilled.images.shape[1:] != corpus.images.shape[1:]:
        raise DataError(
            f"the set's images are {distilled.images.shape[1:]}, the corpus' {corpus.images.shape[1:]} (C, H, W)",
            expected="the same shape",
            do="prepare the corpus with the recipe that the set was made with",
        )


def _key(distilled: DistilledSet, corpus: Corpus, recipe: Recipe, spec: NetworkSpec, place: torch.device) -> str:
    """What decides the predictions: a stored network of another key is trained again."""
    decisive = recipe.model_dump(mode="json", include={"seed", "augmentation", "compute", "evaluate"})
    decisive["network"] = spec.identity()
    for statistics in ("bootstrap", "confidence", "margin", "networks"):
        decisive["evaluate"].pop(statistics)
    digest = hashlib.sha256(json.dumps([decisive, corpus.content, place.type], sort_keys=True).encode())
    digest.update(distilled.images.tobytes() + distilled.labels.tobytes() + distilled.weights.tobytes())
    digest.update(distilled.stage.tobytes() + np.float64(distilled.student_lr).tobytes())
    if distilled.soft_labels is not None:
        digest.update(distilled.soft_labels.tobytes())
    digest.update(json.dumps(distilled.normalisation.as_json()).encode())
    return digest.hexdigest()


def _truth(corpus: Corpus, split: Split) -> Truth:
    rows = corpus.rows(split)
    return Truth(corpus.labels[rows], corpus.groups[rows], corpus.sites[rows])


def _save_answers(path: Path, told: Answers, key: str) -> None:
    validation, test = told.probabilities
    write_tensors(
        path,
        {"validation": validation, "test": test, "seconds": np.array([told.seconds])},
        {"key": key},
        private=True,
    )


def _load_answers(path: Path, key: str) -> Answers | None:
    if not path.is_file():
        return None
    arrays, metadata = read_tensors(path, "stored predictions")
    if metadata.get("key") != key:
        return None
    return Answers((arrays["validation"], arrays["test"]), float(arrays["seconds"][0]))


def _together(arm: Arm, told: list[Answers], images: int, epochs: int) -> ArmPredictions:
    return ArmPredictions(
        arm=arm,
        validation=np.stack([one.probabilities[0] for one in told]),
        test=np.stack([one.probabilities[1] for one in told]),
        images=images,
        epochs=epochs,
        seconds=sum(one.seconds for one in told),
    )
