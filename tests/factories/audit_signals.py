"""The signals of an audit of a set of given images, made for nothing but to be searched."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import Recipe
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.signals import AuditSignals
from medistill.training.device import choose_device


def signals_of(images: np.ndarray, corpus: Corpus, recipe: Recipe, folder: Path) -> AuditSignals:
    """The signals of an audit of a set of grey values (N, C, H, W), class by class."""
    normalisation = Normalisation.of(np.asarray(corpus.images[corpus.rows("train")]))
    classes, count = len(corpus.class_names), len(images)
    mean, std = (np.array(of)[:, None, None] for of in (normalisation.mean, normalisation.std))
    made = DistilledSet(
        images=((images - mean) / std).astype(np.float32),
        labels=np.repeat(np.arange(classes), count // classes),
        weights=np.ones(count, np.float32),
        stage=np.zeros(count, np.int64),
        student_lr=0.01,
        normalisation=normalisation,
        class_names=corpus.class_names,
        provenance={"corpus": corpus.content, "recipe": recipe.model_dump(mode="json"), "starts_from": "noise"},
    )
    spec = network_spec(corpus, recipe)
    return AuditSignals(
        AuditContext(corpus, recipe, spec, choose_device("cpu"), folder, Silent(), made, None, built_in=False)
    )
