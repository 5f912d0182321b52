"""Site by site: what networks that learnt at one site, or from sets of several, are worth at each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from threadpoolctl import threadpool_limits

from medistill.evaluate.between_runs import paired_difference
from medistill.evaluate.home_guard import HomeGuard
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import TRAITS, ArmPredictions, Truth
from medistill.evaluate.subgroup import Subgroup
from medistill.evaluate.subgroups import FEW_HERE, shown, subgroups
from medistill.recipe import EvaluateRecipe
from medistill.recipe.arms import ArmName

ExchangeSource = Literal[
    "own_raw", "own_and_others", "own_set", "others_sets", "all_sets", "random", "pooled_raw", "own_and_unseen"
]
"""What networks learn from: a site's originals; these beside the sets of all other sites; the set that was distilled
from them; the sets of all other sites; the sets of all sites; as many originals of each class and site as these hold,
drawn at random; the originals of all sites, pooled, which is what sites that exchange sets may not do; a site's
originals beside the sets of the others without one, to be tested where that one is from."""
SOURCES: tuple[ExchangeSource, ...] = tuple(one for one in get_args(ExchangeSource) if one != "own_and_unseen")
"""Sources of which there is one, or one of each site, in the order in which results are shown."""
AS_ARMS: dict[ExchangeSource, ArmName] = {
    "own_raw": "raw",
    "own_and_others": "raw",
    "own_set": "distilled",
    "others_sets": "distilled",
    "all_sets": "distilled",
    "random": "random",
    "pooled_raw": "raw",
    "own_and_unseen": "raw",
}
"""The arm of an evaluation that each source is like."""
OF_ONE_SITE: tuple[ExchangeSource, ...] = ("own_raw", "own_and_others", "own_set", "others_sets", "own_and_unseen")
"""Sources that differ from site to site."""
AT_UNSEEN: tuple[ExchangeSource, ...] = ("own_raw", "own_and_others")
"""What a site's originals beside the sets without the tested site's are compared with: without any exchange, and with
that site's set too."""
BESIDE: tuple[ExchangeSource, ...] = ("own_raw", "others_sets", "pooled_raw")
"""What a site's originals beside the others' sets are compared with: what it has, what it gets, what nobody may."""


@dataclass(frozen=True)
class SourcePredictions:
    """What the networks of one source say of the test images of all sites.

    Attributes:
        source: what they learnt from.
        site: whose originals or set it is, or who is left out of the others' sets; "" where it is the same for all.
        images: images that they learnt from; 0 where they could not learn.
        test: float32 (S, N, C), probabilities of S networks for N test images; (0, N, C) where they could not learn.
        reason: why they could not learn, as the end of "cannot be estimated, because ..."; else empty.
        weight: of an image that was sent, where one's own have 1, 0 where what was sent is left aside; None where the
            two do not stand beside each other.
        penalty: of probes; None of other networks.
        not_chosen: why the site's own patients could not choose these; empty where they did, or need not.
        guard: what the guard for home saw; None where it had no part.
        without: the other site whose set is left out; "" where none is.
        variant: the way in which the sets were made, where it is not that of the study's own; else "".
    """

    source: ExchangeSource
    site: str
    images: int
    test: np.ndarray
    reason: str = ""
    weight: float | None = None
    penalty: float | None = None
    not_chosen: str = ""
    guard: HomeGuard | None = None
    without: str = ""
    variant: str = ""

    def as_arm(self) -> ArmPredictions:
        """The same as an arm of an evaluation."""
        nothing = np.empty((len(self.test), 0, self.test.shape[2]), np.float32)
        return ArmPredictions(AS_ARMS[self.source], nothing, self.test, self.images, bytes=0, epochs=0, seconds=0.0)


@dataclass(frozen=True)
class SiteCell:
    """Networks of one source on the test images of one site, or of all.

    Attributes:
        macro_auc: mean area under the ROC curve over the classes that have one there.
        accuracy: share of the images put in their class.
    """

    macro_auc: Estimate
    accuracy: Estimate

    @classmethod
    def of(cls, group: Subgroup) -> SiteCell:
        """The figures of a group of test images, which one arm has."""
        [arm] = group.arms
        return cls(arm.macro_auc, arm.accuracy)

    @classmethod
    def impossible(cls, reason: str) -> SiteCell:
        """No figures, and why."""
        return cls(Estimate.impossible(reason), Estimate.impossible(reason))


@dataclass(frozen=True)
class TestedSite:
    """A site as a place to be tested at.

    Attributes:
        name: its name.
        images: test images; None where they are not told.
        patients: their patients; likewise.
        only_class: the class that every test image there has; "" where there are more.
        reason: why nothing is shown of it; else empty.
    """

    name: str
    images: int | None
    patients: int | None
    only_class: str
    reason: str


@dataclass(frozen=True)
class MatrixRow:
    """The networks of one source.

    Attributes:
        source: what they learnt from.
        site: as in `SourcePredictions`.
        images: images that they learnt from.
        networks: how many there are.
        reason: why they could not learn; else empty.
        cells: one a site.
        pooled: the test images of all sites together.
        weight: as in `SourcePredictions`, and the next three.
        penalty: of probes.
        not_chosen: why these were not chosen.
        guard: what the guard saw.
        without: the other site whose set is left out.
    """

    source: ExchangeSource
    site: str
    images: int
    networks: int
    reason: str
    cells: tuple[SiteCell, ...]
    pooled: SiteCell
    weight: float | None = None
    penalty: float | None = None
    not_chosen: str = ""
    guard: HomeGuard | None = None
    without: str = ""


@dataclass(frozen=True)
class MatrixDifference:
    """What networks of one source gain over those of another one, on the same patients.

    Attributes:
        plus: the source: the sets of all sites, a site's originals beside the sets of the others, and, where the tested
            site sent nothing, the sets of the others, or these beside the originals of one of them.
        of: whose originals; "" of the sets of all sites. Where the sets of the others stand first: whose originals
            are ``minus``.
        site: where they are tested; "" for all sites together.
        minus: the other source; one of a single site is that of ``of``, or, where that is "", of ``site``.
        macro_auc: difference of macro AUC.
        accuracy: difference of accuracy.
    """

    plus: ExchangeSource
    of: str
    site: str
    minus: ExchangeSource
    macro_auc: Estimate
    accuracy: Estimate


@dataclass(frozen=True)
class SiteMatrix:
    """The matrix.

    Attributes:
        sites: the columns.
        test_images: of all sites together.
        test_patients: likewise.
        rows: by source, then by site.
        differences: of the sets of all sites, by where they are tested, all sites together last; then of each site's
            originals beside the others' sets, likewise; then, where one sent nothing, of each site's originals beside
            the rest of the sets to these alone and beside all; last, at such a site, of the sets of the others to the
            originals of each site. None to a source from which nothing could be learnt.
    """

    sites: tuple[TestedSite, ...]
    test_images: int
    test_patients: int
    rows: tuple[MatrixRow, ...]
    differences: tuple[MatrixDifference, ...]


def site_matrix(
    found: Sequence[SourcePredictions],
    test: Truth,
    sites: Sequence[str],
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    *,
    seed: int,
) -> SiteMatrix:
    """The figures of every source at every site. All see the same resamples of the patients.

    A site with fewer than ``recipe.smallest_cell`` test patients is not shown, nor one from which its count would
    follow; it stays in the figures of all sites together.

    Args:
        found: predictions by source and site; those of "all_sets" are there.
        test: what is true of the test images; its trait "site" names the site of each.
        sites: the columns, in order; one may have no test image.
        class_names: one a class.
        recipe: replicates, confidence and smallest cell.
        seed: of the resamples.
    """
    of_site = replace(test, traits={"site": test.traits["site"]})
    with threadpool_limits(1):
        whole = next(entry for entry in found if entry.source == "all_sets")
        columns, pooled = _figures(whole, of_site, class_names, recipe, seed)
        tested = tuple(_tested(site, columns.get(site), of_site, class_names) for site in sites)
        rows = tuple(matrix_row(entry, tested, of_site, class_names, recipe, seed) for entry in found)
        pairs = [(whole, other, site) for site in (*tested, None) for other in found if _comparable(other, site)]
        pairs += [
            (mine, other, site)
            for mine in found
            if not mine.reason
            for site in (*tested, None)
            for other in found
            if other.source in _opposite(mine, site) and other.site in ("", mine.site) and not other.reason
        ]
        differences = [_difference(*pair, of_site, class_names, recipe, seed) for pair in pairs]
        for mine, other, site in _unseen(found, tested):
            told = _difference(mine, other, site, of_site, class_names, recipe, seed)
            differences.append(replace(told, of=other.site))
    return SiteMatrix(tested, pooled.images or 0, pooled.patients or 0, rows, tuple(differences))


def _figures(
    predictions: SourcePredictions, test: Truth, class_names: Sequence[str], recipe: EvaluateRecipe, seed: int
) -> tuple[Mapping[str, Subgroup], Subgroup]:
    """Site -> figures there, and the figures of all sites together."""
    arms, rng = [predictions.as_arm()], np.random.default_rng([seed, len(TRAITS)])
    pooled = shown("site", "", np.arange(len(test.labels)), arms, test, class_names, recipe, rng)
    groups, _ = subgroups(arms, test, class_names, recipe, seed=seed)
    alone = {} if groups else {test.traits["site"][0]: pooled}
    return {group.name: group for group in groups} | alone, pooled


def _tested(site: str, group: Subgroup | None, test: Truth, class_names: Sequence[str]) -> TestedSite:
    if group is None:
        return TestedSite(site, None, None, "", "it has no test images")
    present = np.unique(test.labels[_rows(test, site)])
    only = class_names[int(present[0])] if len(present) == 1 and not group.reason else ""
    return TestedSite(site, group.images, group.patients, only, group.reason)


def _rows(test: Truth, site: str) -> np.ndarray:
    return np.flatnonzero(np.array(test.traits["site"]) == site)


def matrix_row(
    predictions: SourcePredictions,
    tested: Sequence[TestedSite],
    test: Truth,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    seed: int,
) -> MatrixRow:
    """Return the figures of one source at the sites ``tested``, the other arguments being as for `site_matrix`; the
    test images have no trait but their site."""
    row = (predictions.source, predictions.site, predictions.images, len(predictions.test), predictions.reason)
    way = (predictions.weight, predictions.penalty, predictions.not_chosen, predictions.guard, predictions.without)
    if predictions.reason:
        nothing = SiteCell.impossible(predictions.reason)
        return MatrixRow(*row, tuple(nothing for _ in tested), nothing, *way)
    groups, pooled = _figures(predictions, test, class_names, recipe, seed)
    cells = tuple(
        SiteCell.impossible(site.reason) if site.reason else SiteCell.of(groups[site.name]) for site in tested
    )
    return MatrixRow(*row, cells, SiteCell.of(pooled), *way)


def _unseen(
    found: Sequence[SourcePredictions], tested: Sequence[TestedSite]
) -> list[tuple[SourcePredictions, SourcePredictions, TestedSite]]:
    """Pairs that are compared at a site as if it had sent nothing: the sets of the others, and a site's originals."""
    return [
        (mine, other, site)
        for site in tested
        for mine in found
        if (mine.source, mine.site) == ("others_sets", site.name) and not mine.reason
        for other in found
        if other.source == "own_raw" and not other.reason
    ]


def _opposite(mine: SourcePredictions, site: TestedSite | None) -> tuple[ExchangeSource, ...]:
    """What a site's originals beside sets are compared with at a site, or at all together."""
    if mine.source == "own_and_others":
        return BESIDE
    at_unseen = mine.source == "own_and_unseen" and site is not None and site.name == mine.without
    return AT_UNSEEN if at_unseen else ()


def _comparable(other: SourcePredictions, site: TestedSite | None) -> bool:
    """Whether the sets of all sites are set against a source at a site: its own ones there, those of all anywhere."""
    if other.reason:
        return False
    if other.source in OF_ONE_SITE:
        return other.source in ("own_raw", "own_set") and site is not None and other.site == site.name
    return other.source != "all_sets"


def _difference(
    mine: SourcePredictions,
    other: SourcePredictions,
    site: TestedSite | None,
    test: Truth,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    seed: int,
) -> MatrixDifference:
    name, reason = (site.name, site.reason) if site is not None else ("", "")
    pair = (mine.source, mine.site, name, other.source)
    if reason := reason or mine.reason or other.reason:
        return MatrixDifference(*pair, Estimate.impossible(reason), Estimate.impossible(reason))
    rows = _rows(test, name) if site is not None else np.arange(len(test.labels))
    return MatrixDifference(*pair, *difference_on(rows, mine, other, test, class_names, recipe, seed))


def difference_on(
    rows: np.ndarray,
    mine: SourcePredictions,
    other: SourcePredictions,
    test: Truth,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """Return ``mine`` minus ``other`` in macro AUC and accuracy on the test images ``rows`` (int64), paired.

    Where these are not all, no class is named as rare, nor its patients counted, as in a subgroup.
    """
    there = Truth(test.labels[rows], test.groups[rows], {})
    first, second = (replace(entry.as_arm(), test=entry.test[:, rows]) for entry in (mine, other))
    return paired_difference(
        first,
        second,
        there,
        class_names,
        replicates=recipe.bootstrap,
        confidence=recipe.confidence,
        seed=seed,
        lacking="" if len(rows) == len(test.labels) else FEW_HERE,
    )
