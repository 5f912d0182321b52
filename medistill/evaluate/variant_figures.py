"""Variants: what networks are worth at home, elsewhere and over all sites, by the way in which others' sets were made.

Networks learn at each site from its originals beside the sets of the others. Every variant of these sets is set against
the originals alone, and against the sets as the study's own recipe makes them, on the same patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from medistill.evaluate.home_guard import HomeGuard
from medistill.evaluate.predictions import TRAITS, Truth
from medistill.evaluate.site_matrix import SiteCell, SourcePredictions, TestedSite, difference_on, matrix_row
from medistill.evaluate.subgroups import FOLLOWS, hidden_cells, shown
from medistill.recipe import EvaluateRecipe

NOBODY = "no other site has test images"


@dataclass(frozen=True)
class AtPlaces:
    """Figures of networks of one site, or differences of them.

    Attributes:
        home: on the test images of that site.
        elsewhere: on those of all other sites together.
        everywhere: on all.
    """

    home: SiteCell
    elsewhere: SiteCell
    everywhere: SiteCell


@dataclass(frozen=True)
class VariantRow:
    """Networks that learnt at one site from its originals beside the sets of the others, made in one way.

    Attributes:
        site: whose originals.
        images: that they learnt from; 0 where they could not learn.
        networks: how many there are.
        reason: why they could not learn; else empty.
        weight: of an image that was sent, where an own original has 1; None where they could not learn.
        penalty: of probes; None of other networks.
        not_chosen: why the site's own patients could not choose these; empty where they did, or need not.
        guard: what the guard for home saw; None where it had no part.
        figures: of these networks.
        over_own: less those of networks that learnt from the originals alone.
        over_recipe: less those of networks that learnt beside the sets as the study's own recipe makes them; None of
            these themselves.
    """

    site: str
    images: int
    networks: int
    reason: str
    weight: float | None
    penalty: float | None
    not_chosen: str
    guard: HomeGuard | None
    figures: AtPlaces
    over_own: AtPlaces
    over_recipe: AtPlaces | None = None


@dataclass(frozen=True)
class VariantFigures:
    """The figures of every variant.

    Attributes:
        alone: of own originals alone, one a site.
        rows: name of a variant -> one a site; "" is the study's own recipe.
    """

    alone: tuple[AtPlaces, ...]
    rows: Mapping[str, tuple[VariantRow, ...]]


def variant_figures(
    found: Sequence[SourcePredictions],
    test: Truth,
    tested: Sequence[TestedSite],
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    *,
    seed: int,
) -> VariantFigures:
    """Return the figures of every variant at every site. All see the same resamples of the patients.

    What is not shown at home is not told elsewhere either, since its count would follow; nor are fewer than
    ``recipe.smallest_cell`` patients.

    Args:
        found: predictions of "own_raw" and "own_and_others" at each site, the latter of each variant too.
        test: what is true of the test images; its trait "site" names the site of each.
        tested: the sites, as places to be tested at.
        class_names: one a class.
        recipe: replicates, confidence and smallest cell.
        seed: of the resamples.
    """
    figures = _Figures(replace(test, traits={"site": test.traits["site"]}), tested, class_names, recipe, seed)
    by_name = {(one.source, one.site, one.variant): one for one in found}
    names = dict.fromkeys(one.variant for one in found if one.source == "own_and_others")
    with threadpool_limits(1):
        alone = tuple(figures.of(by_name["own_raw", site.name, ""]) for site in tested)
        rows = {}
        for name in names:
            of_sites = []
            for site in tested:
                mine = by_name["own_and_others", site.name, name]
                own, base = by_name["own_raw", site.name, ""], by_name["own_and_others", site.name, ""]
                of_sites.append(
                    VariantRow(
                        site=site.name,
                        images=mine.images,
                        networks=len(mine.test),
                        reason=mine.reason,
                        weight=mine.weight,
                        penalty=mine.penalty,
                        not_chosen=mine.not_chosen,
                        guard=mine.guard,
                        figures=figures.of(mine),
                        over_own=figures.less(mine, own),
                        over_recipe=figures.less(mine, base) if name else None,
                    )
                )
            rows[name] = tuple(of_sites)
    return VariantFigures(alone, rows)


@dataclass(frozen=True)
class _Figures:
    """Figures at the three places of a site.

    Attributes:
        test: with no trait but the site.
        tested: as for `variant_figures`, and so are the others.
    """

    test: Truth
    tested: Sequence[TestedSite]
    class_names: Sequence[str]
    recipe: EvaluateRecipe
    seed: int

    def of(self, mine: SourcePredictions) -> AtPlaces:
        """Figures of networks; at home and everywhere those of the matrix."""
        row = matrix_row(mine, self.tested, self.test, self.class_names, self.recipe, self.seed)
        number = [site.name for site in self.tested].index(mine.site)
        rows, reason = self.elsewhere(mine.site)
        if reason := mine.reason or reason:
            return AtPlaces(row.cells[number], SiteCell.impossible(reason), row.pooled)
        others = {self.test.traits["site"][one] for one in rows}
        if len(others) == 1:  # one figure, one interval: that of the matrix
            there = next((n for n, site in enumerate(self.tested) if site.name in others), None)
            if there is not None:
                return AtPlaces(row.cells[number], row.cells[there], row.pooled)
        rng = np.random.default_rng([self.seed, len(TRAITS), number])
        group = shown("site", "", rows, [mine.as_arm()], self.test, self.class_names, self.recipe, rng)
        return AtPlaces(row.cells[number], SiteCell.of(group), row.pooled)

    def less(self, mine: SourcePredictions, other: SourcePredictions) -> AtPlaces:
        """``mine`` minus ``other``, of the same site, paired."""
        site = next(site for site in self.tested if site.name == mine.site)
        everywhere = np.arange(len(self.test.labels))
        places = ((self.home(mine.site), site.reason), self.elsewhere(mine.site), (everywhere, ""))
        return AtPlaces(*(self._difference(mine, other, *place) for place in places))

    def home(self, site: str) -> np.ndarray:
        """The test images of a site, int64."""
        return np.flatnonzero(np.array(self.test.traits["site"]) == site)

    def elsewhere(self, site: str) -> tuple[np.ndarray, str]:
        """The test images of all other sites, int64, and why nothing is told of them; else empty."""
        rows, home = np.flatnonzero(np.array(self.test.traits["site"]) != site), self.home(site)
        if not len(rows):
            return rows, NOBODY
        cells = {"elsewhere": rows, **({"home": home} if len(home) else {})}
        hidden = hidden_cells(cells, self.test.groups, self.recipe.smallest_cell).get("elsewhere", "")
        not_shown = len(home) and next(one.reason for one in self.tested if one.name == site)
        return rows, hidden or (FOLLOWS if not_shown else "")

    def _difference(self, mine: SourcePredictions, other: SourcePredictions, rows: np.ndarray, reason: str) -> SiteCell:
        if reason := reason or mine.reason or other.reason:
            return SiteCell.impossible(reason)
        told = difference_on(rows, mine, other, self.test, self.class_names, self.recipe, self.seed)
        return SiteCell(*told)
