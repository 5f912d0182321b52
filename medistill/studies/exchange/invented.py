"""Invented hospitals: the patients of one site, divided, each part with another grey curve.

With v grey from 0 to 1, hospital k of those with a curve shows v -> v^gamma_k + level_k, clipped to 0..1, in 8 bits.
They are spread evenly, t_k from -1 to 1: gamma_k = 2^(x t_k) and level_k = -l t_k, for x =
``exchange.invented_exposure`` and l = ``exchange.invented_level``. The last ``exchange.invented_equalised`` equalise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import SPLITS, Corpus, save_corpus
from medistill.artifacts.scratch import scratch
from medistill.data.equalise import LEVELS, equalised_batch
from medistill.errors import UsageError
from medistill.progress import Progress
from medistill.recipe import Recipe
from medistill.recipe.exchange import ExchangeRecipe
from medistill.report.exchange_invented import INVENTED, InventedHospital, invented_sentence
from medistill.training.randomness import derive_seed

BATCH = 256
"""Images that are changed at once."""


def invented_hospitals(settings: ExchangeRecipe) -> tuple[InventedHospital, ...]:
    """Return the hospitals that settings invent, with the curve of each.

    Raises:
        UsageError: there would be one, or more that equalise than there are.
    """
    count, even = settings.invented, settings.invented_equalised
    if count == 1 or (count and even > count):
        raise UsageError(
            f"exchange.invented = {count}, exchange.invented_equalised = {even}",
            expected="two hospitals at least, of whom no more equalise than there are; or 0, which invents none",
            do="give another exchange.invented or exchange.invented_equalised",
        )
    curved = count - even if count else 0
    shifts = np.linspace(-1, 1, curved) if curved > 1 else np.zeros(curved)
    found = [
        InventedHospital(
            f"{INVENTED} {n}",
            gamma=float(2 ** (settings.invented_exposure * shift)),
            level=float(-settings.invented_level * shift),
        )
        for n, shift in enumerate(shifts, start=1)
    ]
    found += [InventedHospital(f"{INVENTED} {n}", equalised=True) for n in range(curved + 1, count + 1)]
    return tuple(found)


def with_invented(corpus: Corpus, recipe: Recipe, progress: Progress) -> Corpus:
    """Write a corpus like another one in which the patients of its one site are those of invented hospitals.

    Nobody is at two of them. Each gets the same share of the patients of every class in every split, to one. Seed and
    settings decide who is where and what is seen there.

    Args:
        corpus: of one site.
        recipe: `ExchangeRecipe.invented` and its like, and the seed; where it invents none, the corpus comes back.
        progress: told what was invented.

    Raises:
        UsageError: the corpus has several sites.
    """
    hospitals = invented_hospitals(recipe.exchange)
    if not hospitals:
        return corpus
    _refuse_several(corpus, recipe)
    sites, said = divided(corpus, len(hospitals), recipe.seed), invented_sentence(hospitals)
    folder = private_folder(cache_root() / "corpora")
    found = save_corpus(
        folder,
        _shown(corpus, sites, hospitals),
        replace(corpus.columns, sites=sites.tolist()),
        corpus.facts.replaced(site_names=tuple(one.name for one in hospitals), notes=(*corpus.notes, said)),
        corpus.manifest,
    )
    progress.say(said)
    return found


def divided(corpus: Corpus, count: int, seed: int) -> np.ndarray:
    """Return the hospital of each image, int64 (N,), 0 to ``count`` - 1: that of its patient.

    The patients of each split and class (that of a patient's first image) are shuffled and dealt out in turn; the next
    class goes on where the last one ended, so that no hospital gets every odd one.
    """
    patients, first, of_image = np.unique(corpus.groups, return_index=True, return_inverse=True)
    hospital, dealt = np.empty(len(patients), np.int64), 0
    for split in range(len(SPLITS)):
        for label in range(len(corpus.class_names)):
            some = np.flatnonzero((corpus.splits[first] == split) & (corpus.labels[first] == label))
            rng = np.random.default_rng(derive_seed(seed, "invented hospitals", split, label))
            hospital[rng.permutation(some)] = (dealt + np.arange(len(some))) % count
            dealt += len(some)
    return hospital[of_image]


def grey_curve(hospital: InventedHospital) -> np.ndarray:
    """Return what becomes of each grey value, uint8 (256,)."""
    grey = np.arange(LEVELS) / (LEVELS - 1)
    return np.rint((LEVELS - 1) * np.clip(grey**hospital.gamma + hospital.level, 0, 1)).astype(np.uint8)


def _shown(corpus: Corpus, sites: np.ndarray, hospitals: tuple[InventedHospital, ...]) -> np.ndarray:
    """Return the images as the hospitals show them, uint8 (N, C, H, W)."""
    images = scratch(corpus.images.shape, np.uint8)
    curves = np.stack([grey_curve(one) for one in hospitals])
    even = np.array([one.equalised for one in hospitals])
    for start in range(0, len(sites), BATCH):
        here, some = sites[start : start + BATCH], np.asarray(corpus.images[start : start + BATCH])
        shown = curves[here[:, None, None, None], some]
        shown[even[here]] = equalised_batch(some[even[here]])
        images[start : start + BATCH] = shown
    return images


def _refuse_several(corpus: Corpus, recipe: Recipe) -> None:
    if len(corpus.site_names) > 1:
        raise UsageError(
            f"exchange.invented = {recipe.exchange.invented} of the patients of one site, and the corpus has "
            f"{', '.join(corpus.site_names)}",
            expected="one site, so that hospitals differ in nothing but what is invented",
            do="name one with --sites, or set exchange.invented = 0",
        )
