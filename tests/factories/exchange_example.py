"""A study of sites that exchange sets, without a run: predictions drawn at random, everything else made up."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from medistill.evaluate.home_guard import HomeGuard
from medistill.evaluate.hospital_curve import HospitalAnswers, hospital_curve
from medistill.evaluate.predictions import Truth
from medistill.evaluate.site_matrix import OF_ONE_SITE, SOURCES, SourcePredictions, site_matrix
from medistill.evaluate.variant_figures import variant_figures
from medistill.recipe import EvaluateRecipe
from medistill.report.exchange import ComparedVariants, ExchangeStudy, SmallHospital, StudiedVariant
from medistill.report.studied_site import SetAudit, StudiedSite

CLASSES = ("COVID", "Normal")
SITES = ("north_clinic", "south", "<b>west</b>", "tiny")
"""The first has both classes, the next two have one each, the last has too few patients to be shown."""
AUDITED = SetAudit("not enough evidence", (), ("membership",), "", ("pixels",), 3)
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
            if site in ("south", "<b>west</b>") and source in ("own_raw", "own_set"):
                reason = "all that there is to learn from is of class COVID"
                found.append(SourcePredictions(source, site, 0, np.empty((0, len(test.labels), 2), np.float32), reason))
                continue
            score = numbers.normal(0.2 * skill * (test.labels == 0), 1, (2, len(test.labels)))
            first = 1 / (1 + np.exp(-score))
            answers = np.stack([first, 1 - first], axis=2).astype(np.float32)
            weight = 3.0 if source == "own_and_others" else None
            free = "" if site in ("", SITES[0]) else "its validation patients are of one class"
            seen = HomeGuard(0.0, 3.0, 0.0214, 0.0305) if weight and not free else None
            found.append(SourcePredictions(source, site, 40, answers, weight=weight, not_chosen=free, guard=seen))
    for site, without in ((SITES[0], "south"), (SITES[0], "<b>west</b>"), (SITES[3], SITES[0])):
        first = 1 / (1 + np.exp(-numbers.normal(0.5 * (test.labels == 0), 1, (2, len(test.labels)))))
        answers = np.stack([first, 1 - first], axis=2).astype(np.float32)
        found.append(SourcePredictions("own_and_unseen", site, 30, answers, weight=0.1, without=without))
    return tuple(found)


@cache
def of_variants() -> tuple[SourcePredictions, ...]:
    """What was learnt beside sets that were made in two other ways: under a guarantee, and in one that failed."""
    test, found, numbers = truth(), [], np.random.default_rng(7)
    for site in SITES:
        first = 1 / (1 + np.exp(-numbers.normal(0.4 * (test.labels == 0), 1, (2, len(test.labels)))))
        answers = np.stack([first, 1 - first], axis=2).astype(np.float32)
        found.append(SourcePredictions("own_and_others", site, 40, answers, weight=0.3, variant="epsilon 3"))
        nothing = np.empty((0, len(test.labels), 2), np.float32)
        found.append(SourcePredictions("own_and_others", site, 0, nothing, "no budget", variant="epsilon 1"))
    return tuple(found)


def compared() -> ComparedVariants:
    """The example's own way, and these two."""
    found, tested = (*predictions(), *of_variants()), study().matrix.sites
    figures = variant_figures(found, truth(), tested, CLASSES, SETTINGS, seed=3)
    promise = "The images are differentially private: epsilon = 3, delta = 1e-05 for one patient."
    private = tuple(
        site if site.reason else replace(site, guarantee=promise, epsilon=2.9961, set_images=2)
        for site in study().sites
    )
    settings = ("method.name=private-means", "privacy.mode=dp", "privacy.epsilon=3")
    failed = tuple(replace(site, set_images=0, audit=None, reason="no budget") for site in study().sites)
    return ComparedVariants(
        figures.alone,
        (
            StudiedVariant("centroids", (), "IADD", "0" * 64, study().sites, figures.rows[""]),
            StudiedVariant("epsilon 3", settings, "private-means", "2" * 64, private, figures.rows["epsilon 3"]),
            StudiedVariant(
                "epsilon 1", settings, "private-means", "3" * 64, failed, figures.rows["epsilon 1"], "no budget"
            ),
        ),
    )


def few_answers() -> HospitalAnswers:
    """Of the first site with 10, 20 and 40 patients in 3 draws: the others' sets help while they are few."""
    test, rng = truth(), np.random.default_rng(11)
    noise = rng.normal(size=(3, 3, len(test.labels)))
    found = []
    for skills in ((0.3, 0.8, 1.6), (0.9, 1.2, 1.6)):
        score = np.array(skills)[:, None, None] * (test.labels == 0) + noise
        first = 1 / (1 + np.exp(-score))
        found.append(np.stack([first, 1 - first], axis=3).astype(np.float32))
    return HospitalAnswers(
        SITES[0], (10, 20, 40), found[0], found[1], np.full((3, 3), 3.0), np.array([[0.0] * 3] * 2 + [[3.0] * 3])
    )


def hospital() -> SmallHospital:
    """The same as curves."""
    curves = [hospital_curve(few_answers(), truth(), at, CLASSES, SETTINGS, seed=3) for at in (SITES[0], "")]
    return SmallHospital(SITES[0], 3, tuple(curves), ("80 patients were not taken.",))


@cache
def study() -> ExchangeStudy:
    """The study."""
    return ExchangeStudy(
        class_names=CLASSES,
        sites=(
            StudiedSite(SITES[0], CLASSES, 500, 20, 3, "", "", audit=AUDITED),
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
        audited="copies",
        weights=(1.0, 3.0),
        method="IADD",
        hospital=hospital(),
    )
