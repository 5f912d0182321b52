"""A study of sites that exchange sets, without a run: predictions drawn at random, everything else made up."""

from __future__ import annotations

from functools import cache

import numpy as np

from medistill.evaluate.predictions import Truth
from medistill.evaluate.site_matrix import OF_ONE_SITE, SOURCES, SourcePredictions, site_matrix
from medistill.recipe import EvaluateRecipe
from medistill.report.exchange import ExchangeStudy, StudiedSite

CLASSES = ("COVID", "Normal")
SITES = ("north_clinic", "south", "<b>west</b>", "tiny")
"""The first has both classes, the next two have one each, the last has too few patients to be shown."""
SETTINGS = EvaluateRecipe(bootstrap=200, smallest_cell=5)


def truth() -> Truth:
    """40 images of 20 patients in the north, 12 of 12 in the south, 14 of 7 in the west, 3 of 3 in the last."""
    labels = np.array([k // 2 % 2 for k in range(40)] + [0] * 12 + [1] * 14 + [0, 1, 1])
    groups = np.array(
        [k // 2 for k in range(40)] + list(range(20, 32)) + [32 + k // 2 for k in range(14)] + [40, 41, 42]
    )
    names = [name for name, count in zip(SITES, (40, 12, 14, 3), strict=True) for _ in range(count)]
    return Truth(labels, groups, {"site": tuple(names)})


@cache
def predictions() -> tuple[SourcePredictions, ...]:
    """Of two networks for each source; nothing could be learnt at a site of one class."""
    test, found = truth(), []
    numbers = np.random.default_rng(5)
    for skill, source in enumerate(SOURCES):
        for site in SITES if source in OF_ONE_SITE else ("",):
            if site in ("south", "<b>west</b>") and source != "others_sets":
                reason = "all that there is to learn from is of class COVID"
                found.append(SourcePredictions(source, site, 0, np.empty((0, len(test.labels), 2), np.float32), reason))
                continue
            score = numbers.normal(0.2 * skill * (test.labels == 0), 1, (2, len(test.labels)))
            first = 1 / (1 + np.exp(-score))
            found.append(SourcePredictions(source, site, 40, np.stack([first, 1 - first], axis=2).astype(np.float32)))
    return tuple(found)


@cache
def study() -> ExchangeStudy:
    """The study."""
    return ExchangeStudy(
        class_names=CLASSES,
        sites=(
            StudiedSite(SITES[0], CLASSES, 500, 20, 3, "", ""),
            StudiedSite(SITES[1], ("COVID",), 90, 10, 10, "", "It has fewer than 10 training images of Normal."),
            StudiedSite(SITES[2], ("Normal",), 80, 10, 0, "", ""),
            StudiedSite(SITES[3], (), 0, 0, None, "the site has no training images", ""),
        ),
        matrix=site_matrix(predictions(), truth(), SITES, CLASSES, SETTINGS, seed=3),
        network="ConvNet, 3 blocks",
        networks=2,
        ipc=10,
        starts_from="real",
        split_unit="patient",
        synthetic=False,
        confidence=0.95,
        replicates=200,
        seed=3,
        recipe="exchange-xray",
        recipe_digest="0" * 64,
        corpus="1" * 64,
        versions={"torch": "2.13"},
    )
