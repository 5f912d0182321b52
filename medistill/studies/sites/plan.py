"""The plan of a study that leaves sites out: what can be learnt without each, and the record of those that are done."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import NOT_STATED, SPLITS, Corpus, rows_without_site
from medistill.artifacts.kept import keep_json, read_result
from medistill.errors import UsageError
from medistill.recipe import PruneRecipe, Recipe
from medistill.report.held_out_sites import SitePlan, SitePlans


def plan_sites(corpus: Corpus, needed: int, smallest_cell: int, prune: PruneRecipe) -> list[SitePlan]:
    """What can be learnt without each site of a corpus, and tested there.

    A class takes part if the other sites have enough training images, and a validation image, of it. A site is not
    tested where too few patients would be: the table of subgroups would not show them either.

    Args:
        corpus: of all sites.
        needed: fewest training images of a class that takes part, of those that are not pruned.
        smallest_cell: fewest patients of a site that is tested.
        prune: what share of the other sites' images goes before they are counted.

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
    return [_plan(corpus, site, f"{n:02d}", needed, smallest_cell, prune) for n, site in enumerate(sites, start=1)]


def _plan(corpus: Corpus, site: str, folder: str, needed: int, smallest_cell: int, prune: PruneRecipe) -> SitePlan:
    rows, splits = rows_without_site(corpus, site)
    labels, names = corpus.labels[rows], corpus.class_names
    train, val, test = (np.bincount(labels[splits == s], minlength=len(names)) for s in range(len(SPLITS)))
    elsewhere = np.bincount(corpus.labels[corpus.sites != corpus.site_names.index(site)], minlength=len(names))
    kept = np.array([prune.kept(count) for count in train.tolist()])
    taught = (kept >= needed) & (val > 0)
    nowhere_else = [name for c, name in enumerate(names) if elsewhere[c] == 0]
    lost = [f"no other site has images of {' or '.join(nowhere_else)}"] if nowhere_else else []
    lost += [
        f"the other sites have {kept[c]} training and {val[c]} validation images of class {name}"
        f"{prune.afterwards}, where {needed} and 1 are needed"
        for c, name in enumerate(names)
        if elsewhere[c] > 0 and not taught[c]
    ]
    why = " and ".join(lost)
    tested = rows[(splits == SPLITS.index("test")) & taught[labels]]
    patients = len(np.unique(corpus.groups[tested]))
    reason = ""
    if taught.sum() < 2:
        reason = why
    elif not test[taught].any():
        reason = f"none of its images is of a class that the other sites can teach; {why}"
    elif patients < smallest_cell:
        reason = f"fewer than {smallest_cell} of its patients could be tested, who might be recognised"
    return SitePlan(
        site=site,
        folder=folder,
        classes=tuple(name for c, name in enumerate(names) if taught[c]),
        images=len(tested),
        patients=patients,
        reason=reason,
        note=f"Not every class takes part, because {why}." if lost and not reason else "",
    )


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
