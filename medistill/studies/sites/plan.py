"""The plan of a study that leaves sites out: what can be learnt without each, and the record of those that are done."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import NOT_STATED, SPLITS, Corpus, rows_without_site
from medistill.artifacts.kept import keep_json, read_result
from medistill.errors import UsageError
from medistill.quantisation.cells import patients_by_share
from medistill.recipe import Recipe
from medistill.report.held_out_sites import SitePlan, SitePlans


def plan_sites(corpus: Corpus, recipe: Recipe) -> list[SitePlan]:
    """What can be learnt without each site of a corpus, and tested there.

    A class takes part if the other sites have enough training images that are not pruned (`Recipe.fewest_images`),
    enough training patients (`Recipe.fewest_patients`), and a validation image, of it. A site is not tested where fewer
    patients than ``evaluate.smallest_cell`` would be: the table of subgroups would not show them either.

    Args:
        corpus: of all sites.
        recipe: by which sets are made without a site.

    Raises:
        UsageError: the corpus has fewer than two sites.
    """
    sites = [name for name in corpus.site_names if name != NOT_STATED]
    if len(sites) < 2:
        raise UsageError(
            f"the corpus has {'one site' if sites else 'no site'}{f' ({sites[0]})' if sites else ''}",
            expected="images of at least two sites, so that one can be left out",
            do="sort the files as SITE/CLASS/file, or name a table with a column for the site with --labels",
        )
    return [_plan(corpus, site, f"{n:02d}", recipe) for n, site in enumerate(sites, start=1)]


def _plan(corpus: Corpus, site: str, folder: str, recipe: Recipe) -> SitePlan:
    rows, splits = rows_without_site(corpus, site)
    labels, names = corpus.labels[rows], corpus.class_names
    test = np.bincount(labels[splits == SPLITS.index("test")], minlength=len(names))
    elsewhere = np.bincount(corpus.labels[corpus.sites != corpus.site_names.index(site)], minlength=len(names))
    taught, lacks = _taught(corpus, rows, splits, recipe)
    nowhere_else = [name for c, name in enumerate(names) if elsewhere[c] == 0]
    lost = [f"no other site has images of {' or '.join(nowhere_else)}"] if nowhere_else else []
    lost += [f"the other sites have {lacks[c]}" for c in range(len(names)) if elsewhere[c] > 0 and not taught[c]]
    why = " and ".join(lost)
    tested = rows[(splits == SPLITS.index("test")) & taught[labels]]
    patients = len(np.unique(corpus.groups[tested]))
    reason = ""
    if taught.sum() < 2:
        reason = why
    elif not test[taught].any():
        reason = f"none of its images is of a class that the other sites can teach; {why}"
    elif patients < recipe.evaluate.smallest_cell:
        reason = f"fewer than {recipe.evaluate.smallest_cell} of its patients could be tested, who might be recognised"
    return SitePlan(
        site=site,
        folder=folder,
        classes=tuple(name for c, name in enumerate(names) if taught[c]),
        images=len(tested),
        patients=patients,
        reason=reason,
        note=f"Not every class takes part, because {why}." if lost and not reason else "",
    )


def _taught(corpus: Corpus, rows: np.ndarray, splits: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, list[str]]:
    """Return which classes can be learnt from some rows of a corpus, bool (C,), and of each class what there is of it
    and what is needed, after "have"."""
    names, labels, needed, prune = corpus.class_names, corpus.labels[rows], recipe.fewest_images, recipe.prune
    training = splits == SPLITS.index("train")
    train, val = (
        np.bincount(labels[splits == SPLITS.index(split)], minlength=len(names)) for split in ("train", "val")
    )
    kept = np.array([prune.kept(count) for count in train.tolist()])
    patients = patients_by_share(labels[training], corpus.groups[rows[training]], len(names))
    least = recipe.fewest_patients
    lacks = [
        f"{kept[c]} training and {val[c]} validation images of class {name}{prune.afterwards}, where {needed} and 1 "
        "are needed"
        if kept[c] < needed or not val[c]
        else f"{patients[c]} training patients of class {name} by their share of its images, where {least} are needed"
        for c, name in enumerate(names)
    ]
    return (kept >= needed) & (val > 0) & (patients >= least), lacks


class SitesRecord:
    """``RUN/sites/sites.json``: the sites that are finished, written anew after each.

    Raises:
        UsageError: what lies there was made from another corpus or under another recipe.
    """

    def __init__(self, path: Path, corpus: Corpus, recipe: Recipe) -> None:
        self.path = path
        self.corpus, self.recipe_digest = corpus.content, recipe.digest
        self.plans: dict[str, SitePlan] = {}
        if path.is_file():
            earlier = SitePlans.from_json(read_result(path, "record of the sites"), str(path))
            self.plans = {plan.site: plan for plan in earlier.sites}
            if (earlier.corpus, earlier.recipe_digest) != (self.corpus, self.recipe_digest):
                raise UsageError(
                    f"{path.parent} holds results of another corpus or recipe",
                    expected="results of this run nowhere_else",
                    do="remove that folder, then repeat the command",
                )
        else:
            self._write()

    def has(self, site: str) -> bool:
        """Whether a site is finished."""
        return site in self.plans

    def add(self, plan: SitePlan) -> None:
        """Keep a finished site."""
        self.plans[plan.site] = plan
        self._write()

    def _write(self) -> None:
        sites = tuple(sorted(self.plans.values(), key=lambda plan: plan.folder))
        record = SitePlans(corpus=self.corpus, recipe_digest=self.recipe_digest, sites=sites)
        keep_json(self.path, record.as_json())
