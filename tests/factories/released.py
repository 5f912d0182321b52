"""A small set that carries class statistics, released in earnest from made-up features, and says what it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.privacy.accounting import Guarantee
from medistill.recipe import load_recipe
from medistill.sharing.outgoing import outgoing_recipe
from medistill.statistics.contributions import Blocks
from medistill.statistics.release import release
from tests.factories.encoder_told import ENCODER
from tests.factories.sent_bundle import small_set

FEATURES = 6
SPACE = Projection(
    np.zeros(FEATURES, np.float32),
    np.ones(FEATURES, np.float32),
    ProjectionRecord(kind="encoder", encoder=ENCODER.sha256),
)


def released_set(
    seed: int = 0,
    *,
    epsilon: float = 3.0,
    counts: float = 0.05,
    second: float = 0.0,
    class_units: Sequence[int] = (),
    clip: float = 1.0,
) -> DistilledSet:
    """The small set, with statistics of 60 images of 30 patients in its two classes."""
    settings = [
        f"data.classes={list(small_set().class_names)}".replace("'", '"'), "data.image_size=128",
        f"network.encoder={ENCODER.sha256}", f"privacy.epsilon={epsilon}", "privacy.delta=0.001",
        f"privacy.clip={clip}", "privacy.units=30", f"method.count_share={counts}", f"method.second_share={second}",
        f"method.class_units={list(class_units)}",
    ]  # fmt: skip
    recipe = load_recipe("covid-xray-private", settings)
    promised = Guarantee.of(recipe)
    assert promised is not None
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(60, FEATURES)), np.arange(60) % 2
    statistics = release(
        lambda some: features[some],
        labels,
        np.arange(60) // 2,
        class_names=small_set().class_names,
        projection=SPACE,
        blocks=Blocks(2, FEATURES, clip, counts, second),
        sigma=promised.sigma,
        unit="patient",
        public_counts=class_units,
    )
    told = {
        "method": "private-means", "network": "probe", "encoder": ENCODER.as_json(), "starts_from": "noise",
        "recipe": outgoing_recipe(recipe.model_dump(mode="json")), "privacy": promised.sentence,
        "differential_privacy": promised.as_json(), "statistics": statistics.digest,
    }  # fmt: skip
    images = rng.normal(size=(4, 1, 8, 8)).astype(np.float32)
    normalisation = Normalisation((recipe.privacy.mean,), (recipe.privacy.std,))
    return replace(small_set(), images=images, normalisation=normalisation, provenance=told, statistics=statistics)


def statistics_of(distilled: DistilledSet) -> ClassStatistics:
    """What it carries."""
    assert distilled.statistics is not None
    return distilled.statistics


def carrying(distilled: DistilledSet, statistics: ClassStatistics, **told: Any) -> DistilledSet:
    """The set with other statistics, which it names, and with these words: what a careful liar sends."""
    stated = {**distilled.provenance.as_json(), "statistics": statistics.digest, **told}
    kept = {name: value for name, value in stated.items() if value is not None}
    return replace(distilled, provenance=kept, statistics=statistics)
