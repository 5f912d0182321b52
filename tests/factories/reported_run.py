"""A run's folder as the chain leaves it, made of invented predictions and images, for tests of what reads one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import private_folder, write_json, write_text
from medistill.artifacts.corpus import ManifestRow
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.predictions import ArmPredictions, Truth, save_arm, save_truth
from medistill.recipe import Recipe, recipe_toml
from medistill.recipe.arms import ArmName
from tests.factories.flat_corpus import save_flat

EVIL = "<script>alert('x')</script>"
NAMES = ("Normal", EVIL, "Viral_Pneumonia")
IPC, SIZE = 3, 8
SKILLS: dict[ArmName, float] = {"raw": 2.0, "random": 0.6, "kmeans": 0.8, "distilled": 1.6}


def truth(seed: int, patients: int) -> Truth:
    """Two images a patient, of two sites and known or unknown sex."""
    groups = np.repeat(np.arange(patients), 2)
    labels = np.random.default_rng(seed).permutation(np.arange(patients) % 3)[groups]
    sites = tuple("Site_A" if group % 3 else "Site & B" for group in groups)
    sexes = tuple(("female", "male", "")[group % 3] for group in groups)
    return Truth(labels, groups, {"site": sites, "sex": sexes})


def predictions(
    arm: ArmName, splits: tuple[Truth, Truth], *, skill: float, images: int, seed: int = 0
) -> ArmPredictions:
    """Three networks that answer at random, more often rightly the higher ``skill`` is."""
    numbers = np.random.default_rng([len(arm), seed])

    def softmax(of: Truth) -> np.ndarray:
        raised = np.exp(numbers.normal(size=(3, len(of.labels), 3)) + skill * np.eye(3)[of.labels])
        return (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32)

    return ArmPredictions(arm, softmax(splits[0]), softmax(splits[1]), images, images * SIZE * SIZE, 10, 12.5)


def evaluated(
    folder: Path, recipe: Recipe, *, network: str = "ConvNet, depth 3, width 32", skill: float = 1.6, seed: int = 0
) -> Evaluation:
    """Write predictions and their comparison to ``folder/evaluation``."""
    splits = truth(0, 21), truth(1, 30)
    arms = [
        predictions(
            arm,
            splits,
            skill=skill if arm == "distilled" else of_arm,
            images=90 if arm == "raw" else 9,
            seed=seed if arm == "distilled" else 0,
        )
        for arm, of_arm in SKILLS.items()
    ]
    place = private_folder(folder / "evaluation")
    save_truth(place, *splits)
    for arm in arms:
        save_arm(place, arm)
    compared = compare(arms, *splits, NAMES, recipe.evaluate, seed=0, network=network, parameters=12345)
    digest = distilled_set(recipe, synthetic=False).digest()
    evaluation = replace(compared, originals="apart", set_digest=digest)
    write_json(place / "evaluation.json", evaluation.as_json(), private=True)
    return evaluation


def distilled_set(recipe: Recipe, *, synthetic: bool) -> DistilledSet:
    """A set of noise."""
    count = IPC * len(NAMES)
    return DistilledSet(
        images=np.random.default_rng(4).normal(size=(count, 1, SIZE, SIZE)).astype(np.float32),
        labels=np.repeat(np.arange(len(NAMES)), IPC),
        weights=np.ones(count, np.float32),
        stage=np.zeros(count, np.int64),
        student_lr=0.0123,
        normalisation=Normalisation((0.5,), (0.2,)),
        class_names=NAMES,
        provenance={
            "method": "IADD",
            "recipe": recipe.model_dump(mode="json"),
            "recipe_digest": recipe.digest,
            "versions": {"medistill": "0.1.0"},
            "device": "cpu",
            "corpus": "c" * 64,
            "trajectories": "t" * 64,
            "chosen_step": 20,
            "training_images": dict.fromkeys(NAMES, 30),
            "training_groups": 45,
            "split_unit": "patient",
            "synthetic_source": synthetic,
            "starts_from": "real",
            "privacy": "No formal privacy guarantee was sought in this mode.",
        },
    )


def corpus_record(folder: Path, *, synthetic: bool, split_unit: str = "patient") -> dict[str, Any]:
    """Save a corpus of noise; what ``run.json`` says of it."""
    numbers = np.random.default_rng(9)
    splits = np.repeat([0, 1, 2], 12)
    corpus = save_flat(
        folder,
        images=numbers.integers(0, 256, (36, 1, SIZE, SIZE), dtype=np.uint8),
        labels=list(np.arange(36) % 3),
        groups=list(range(36)),
        splits=list(splits),
        class_names=NAMES,
        site_names=["Site_A", "Site & B"],
        split_unit=split_unit,  # type: ignore[arg-type]
        synthetic=synthetic,
        notes=["Two files had no <window>."],
        manifest=[*(ManifestRow(f"doe_john_{k}.dcm", k) for k in range(36)), ManifestRow("x.dcm", -1, "truncated", "")],
    )
    return {
        "content": corpus.content,
        "class_names": list(NAMES),
        "site_names": list(corpus.site_names),
        "counts": corpus.counts(),
        "counts_by_site": corpus.counts_by_site(),
        "patients": {"train": 12, "val": 12, "test": 12},
        "found": corpus.found,
        "refused": corpus.refused,
        "split_unit": split_unit,
        "split_source": "drawn",
        "synthetic": synthetic,
        "notes": list(corpus.notes),
        "shape": list(corpus.images.shape),
    }


def whole_run(
    run: Path,
    recipe: Recipe,
    cache: Path,
    *,
    synthetic: bool = False,
    split_unit: str = "patient",
    skill: float = 1.6,
    seed: int = 0,
) -> Path:
    """Write everything that a finished run has."""
    evaluated(run, recipe, skill=skill, seed=seed)
    distilled_set(recipe, synthetic=synthetic).save(run / "set")
    write_text(run / "recipe.toml", recipe_toml(recipe))
    history = {
        "loss": [1 / (k + 1) for k in range(30)],
        "student_lr": [0.01 + k / 1e4 for k in range(30)],
        "importance": [[1.0, 1.1], [0.9, 1.2], [0.8, 1.3]],
        "looks": [10, 20, 30],
        "accuracy": [0.5, 0.6, 0.58],
        "auc": [0.7, 0.8, 0.79],
        "importance_names": ["features.0.weight", "classifier.weight"],
        "chosen_step": 20,
    }
    write_json(run / "history.json", history)
    record = {
        "schema": 1,
        "versions": {"medistill": "0.1.0", "torch": "2.13.0"},
        "device": "cpu",
        "hardware": "a processor, 2 threads",
        "seed": 7,
        "recipe": "demo",
        "recipe_digest": recipe.digest,
        "command": "medistill distill --recipe run/recipe.toml --data xray",
        "stages": {"prepare": {"seconds": 3.0}, "distill": {"seconds": 75.5}},
        "corpus": corpus_record(cache / "corpora", synthetic=synthetic, split_unit=split_unit),
    }
    write_json(run / "run.json", record)
    return run
