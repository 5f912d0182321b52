"""Sites that exchange sets: which classes each can distil, and its share of the corpus."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, NOT_STATED, SPLITS, Corpus
from medistill.errors import UsageError
from medistill.quantisation.cells import patients_by_share
from medistill.recipe import PruneRecipe

UNPRUNED = PruneRecipe()


@dataclass(frozen=True)
class ExchangeSite:
    """What one site can give.

    Attributes:
        name: of the site.
        folder: of its set below ``OUT/sites``; a number, since names of sites may be anything.
        classes: of its set: those of which it has enough images.
        rows: int64, its training images of these classes, as rows of the corpus.
        reason: why it cannot distil, as the end of "cannot be estimated, because ..."; else empty.
        note: which of its classes take no part, and why; else empty.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    rows: np.ndarray
    reason: str
    note: str

    def share(self, corpus: Corpus, *, tested: bool = False) -> Corpus:
        """What the site distils from: its training and validation images; the classes are those of the whole corpus.

        Args:
            corpus: of all sites.
            tested: leave it its test images too, to which an audit holds a set.
        """
        here = corpus.sites == corpus.site_names.index(self.name)
        taken = here & np.isin(corpus.labels, [corpus.class_names.index(name) for name in self.classes])
        splits = np.where(taken & (tested | (corpus.splits != SPLITS.index("test"))), corpus.splits, LEFT_OUT)
        said = json.dumps([corpus.content, self.name, self.classes])
        return replace(corpus, content=hashlib.sha256(said.encode()).hexdigest(), splits=splits)


def plan_exchange(
    corpus: Corpus, images: int, patients: int = 1, prune: PruneRecipe = UNPRUNED, *, fewest: int = 2
) -> list[ExchangeSite]:
    """What each site of a corpus can give: a class of which it has enough training images and a validation image.

    Args:
        corpus: of all sites.
        images: fewest training images of a class that a site needs to give it.
        patients: likewise training patients, by their share of its images.
        prune: what share of a site's images goes before they are counted.
        fewest: sites that must give something; one where others sent sets.

    Raises:
        UsageError: fewer sites can give anything, or a class comes from none of them.
    """
    names = [name for name in corpus.site_names if name != NOT_STATED]
    sites = [_site(corpus, name, f"{n:02d}", images, patients, prune) for n, name in enumerate(names, start=1)]
    giving = [site for site in sites if not site.reason]
    if len(giving) < fewest:
        raise UsageError(
            f"{len(giving)} of {len(sites)} sites can distil a set that takes {images} training images a class"
            f"{_after(prune)}",
            expected="at least two, or nothing can be exchanged"
            if fewest > 1
            else "one, whose originals others' sets join",
            do="sort the files as SITE/CLASS/file, or name a table with a column for the site with --labels; or lower "
            "method.ipc",
        )
    lost = [name for name in corpus.class_names if all(name not in site.classes for site in giving)]
    if lost:
        kept = [name for name in corpus.class_names if name not in lost]
        raise UsageError(
            f"no site has {images} training images{_after(prune)} and a validation image of class {lost[0]}",
            expected="every class from one site at least",
            do=f"leave it out with --classes {','.join(kept)}, or lower method.ipc",
        )
    return sites


def _after(prune: PruneRecipe) -> str:
    return f" after pruning (prune.share = {prune.share:g})" if prune.active else ""


def _site(corpus: Corpus, name: str, folder: str, images: int, patients: int, prune: PruneRecipe) -> ExchangeSite:
    here, classes = corpus.sites == corpus.site_names.index(name), len(corpus.class_names)
    train, val = (
        np.bincount(corpus.labels[here & (corpus.splits == SPLITS.index(split))], minlength=classes)
        for split in ("train", "val")
    )
    training = here & (corpus.splits == SPLITS.index("train"))
    of_class = patients_by_share(corpus.labels[training], corpus.groups[training], classes)
    kept = np.array([count - prune.dropped(count) for count in train.tolist()])
    enough = (kept >= images) & (val > 0) & (of_class >= patients)
    lost = [corpus.class_names[c] for c in range(classes) if train[c] > 0 and not enough[c]]
    few = f" of {patients} patients" if patients > 1 else ""
    why = f"fewer than {images} training images{few}{_after(prune)} or no validation image of {' and of '.join(lost)}"
    taken = training & enough[corpus.labels]
    return ExchangeSite(
        name=name,
        folder=folder,
        classes=tuple(corpus.class_names[c] for c in range(classes) if enough[c]),
        rows=np.flatnonzero(taken),
        reason="" if enough.any() else f"the site has {why if lost else 'no training images'}",
        note=f"It has {why}, which take no part there." if lost and enough.any() else "",
    )
