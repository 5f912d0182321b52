"""The plan of a study that leaves sites out: what can be learnt without each, and the record of those that are done."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import NOT_STATED, SPLITS, Corpus, rows_without_site
from medistill.artifacts.kept import keep_json, read_result
from medistill.errors import UsageError
from medistill.recipe import Recipe
from medistill.report.held_out_sites import SITES_SCHEMA, SitePlan, read_plans


def plan_sites(corpus: Corpus, needed: int, smallest_cell: int) -> list[SitePlan]:
    """What can be learnt without each site of a corpus, and tested there.

    A class takes part if the other sites have ``needed`` training images and a validation image of it. A site is not
    tested where fewer than ``smallest_cell`` patients would be: the table of subgroups would not show them either.

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
    return [_plan(corpus, site, f"{n:02d}", needed, smallest_cell) for n, site in enumerate(sites, start=1)]


def _plan(corpus: Corpus, site: str, folder: str, needed: int, smallest_cell: int) -> SitePlan:
    rows, splits = rows_without_site(corpus, site)
    labels, names = corpus.labels[rows], corpus.class_names
    train, val, test = (np.bincount(labels[splits == s], minlength=len(names)) for s in range(len(SPLITS)))
    elsewhere = np.bincount(corpus.labels[corpus.sites != corpus.site_names.index(site)], minlength=len(names))
    taught = (train >= needed) & (val > 0)
    nowhere_else = [name for c, name in enumerate(names) if elsewhere[c] == 0]
    lost = [f"no other site has images of {' or '.join(nowhere_else)}"] if nowhere_else else []
    lost += [
        f"the other sites have {train[c]} training and {val[c]} validation images of class {name}, "
        f"where {needed} and 1 are needed"
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
        self.made_of = {"corpus": corpus.content, "recipe_digest": recipe.digest}
        self.plans: dict[str, SitePlan] = {}
        if path.is_file():
            earlier = read_result(path, "record of the sites")
            self.plans = {plan.site: plan for plan in read_plans(earlier, path)}
            if {name: earlier.get(name) for name in self.made_of} != self.made_of:
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
        sites = [asdict(plan) for plan in sorted(self.plans.values(), key=lambda plan: plan.folder)]
        keep_json(self.path, {"schema": SITES_SCHEMA, **self.made_of, "sites": sites})
