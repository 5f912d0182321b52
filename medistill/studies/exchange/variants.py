"""Variants: other ways of making the sets, made at every site and put beside the same originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medistill.errors import ArtifactError, BudgetError, DataError, MedistillError, UsageError
from medistill.evaluate.network_keys import STATISTICS
from medistill.evaluate.predictions import Truth
from medistill.evaluate.site_matrix import SourcePredictions, TestedSite
from medistill.evaluate.variant_figures import variant_figures
from medistill.methods.registry import recipe_facts
from medistill.ranks.ranks import Ranks
from medistill.recipe import Recipe, override_recipe
from medistill.report.exchange import ComparedVariants, StudiedVariant
from medistill.report.exchange_variants import ALONE
from medistill.report.studied_site import StudiedSite
from medistill.sharing.merge_source import MergeSource
from medistill.studies.exchange.audited import Auditor
from medistill.studies.exchange.giving import LEFT_OUT, Errors, sets_of, studied_sites
from medistill.studies.exchange.refusals import refuse_recipe
from medistill.studies.exchange.sites import ExchangeSite, plan_exchange
from medistill.studies.exchange.sources import SourceData, Sources
from medistill.training.context import Context

OWN = "the recipe"
"""What the study's own way is called where no variant without settings gives it a name."""
MARK = 12
"""Characters of a digest by which files of a variant are called: so the order of variants decides nothing."""
LEFT_OUT_OF_MANY: Errors = (*LEFT_OUT, BudgetError)
"""Errors for which a site sends nothing in one way of several."""


@dataclass(frozen=True)
class Variant:
    """A way of making the sets.

    Attributes:
        name: of it.
        settings: in which its recipe differs from the study's, as ``section.key=value``.
        recipe: with them.
    """

    name: str
    settings: tuple[str, ...]
    recipe: Recipe

    @property
    def mark(self) -> str:
        """What its files are called by: they are of this recipe, whatever its name, and whatever of the evaluation may
        change once a set is made."""
        evaluate = self.recipe.evaluate
        plain = type(evaluate)()
        kept = evaluate.model_copy(update={name: getattr(plain, name) for name in STATISTICS})
        return self.recipe.model_copy(update={"evaluate": kept}).digest[:MARK]


@dataclass(frozen=True)
class MadeVariant:
    """What came of a way of making the sets.

    Attributes:
        variant: the way.
        sites: what each site gave, in the order of the study's.
        sources: own originals beside the sets of the others, site by site.
        reason: why nothing could be exchanged; else empty.
    """

    variant: Variant
    sites: tuple[StudiedSite, ...]
    sources: tuple[SourceData, ...]
    reason: str = ""


def variants_of(recipe: Recipe) -> tuple[Variant, ...]:
    """Return the ways in which a study makes sets: that of its recipe, then the others; none where one is tried.

    Raises:
        UsageError: a variant is no recipe that could be studied, or the same as another one.
    """
    found: dict[str, Variant] = {recipe.digest: Variant(OWN, (), recipe)}
    for name, settings in recipe.exchange.variants.items():
        try:
            one = Variant(name, settings, override_recipe(recipe, settings, "the recipe"))
            refuse_recipe(_without_hospital(one.recipe))
        except MedistillError as error:
            raise UsageError(f"exchange.variants, {name}: {error.seen}", expected=error.expected, do=error.do) from None
        earlier = found.get(one.recipe.digest)
        if earlier is not None and (earlier.name != OWN or settings):
            raise UsageError(
                f"exchange.variants: {name} makes sets just as {earlier.name} does",
                expected="ways that differ, or one without settings, which names the recipe's own",
                do="leave one of them out",
            )
        found[one.recipe.digest] = one
    if taken := next((name for name in recipe.exchange.variants if name.strip().casefold() == ALONE.casefold()), ""):
        raise UsageError(
            f"exchange.variants: a variant is called {taken}",
            expected="another name: the column of no sets is called so",
            do="rename it",
        )
    if any(one.name == OWN and one.settings for one in found.values()):
        raise UsageError(
            f"exchange.variants: a variant is called {OWN}",
            expected="another name: the study's own way is called so",
            do="rename it",
        )
    return tuple(found.values()) if recipe.exchange.variants else ()


def made_variant(
    variant: Variant,
    sites: Sequence[ExchangeSite],
    received: Mapping[str, MergeSource],
    auditor: Auditor,
    ranks: Ranks,
    out: Path,
) -> MadeVariant:
    """Have every site make its set in this way, and audit it, unless an earlier call did.

    A site that cannot is named and left out, also where its budget is spent; where nothing can be exchanged in this
    way, the other ways go on. All ranks have to find the same.

    Args:
        variant: the way.
        sites: of the study, whose originals the sets stand beside.
        received: sender -> what was received.
        auditor: of the study's own sets.
        ranks: that share the sites.
        out: folder of all variants.

    Raises:
        UsageError: the ranks have other sets, or other reasons why there are none.
    """
    made, found = _made(variant, sites, received, auditor, ranks, out)
    ranks.agree(
        {f"outcome of exchange.variants, {variant.name}": made.reason or found},
        do="see that all ranks read the same --out, and repeat the command",
    )
    return made


def _made(
    variant: Variant,
    sites: Sequence[ExchangeSite],
    received: Mapping[str, MergeSource],
    auditor: Auditor,
    ranks: Ranks,
    out: Path,
) -> tuple[MadeVariant, str]:
    """Make the sets, and return what came of it, and the digests of those that this rank found."""
    folder, recipe = out / variant.mark / "sites", variant.recipe
    context = replace(auditor.context, recipe=recipe, out=folder)
    needed, fewest = max(recipe.method.ipc, recipe.fewest_images), 0 if received else 2
    try:
        planned = plan_exchange(
            context.corpus, needed, recipe.fewest_patients, recipe.prune, fewest=1 if received else 2
        )
    except UsageError as error:
        return _failed(variant, sites, (), error, context), ""
    auditor = replace(auditor, context=context)
    given = tuple(studied_sites(planned, auditor, ranks, left_out=LEFT_OUT_OF_MANY))
    try:
        sets, reasons = sets_of(planned, given, folder, fewest=fewest)
        sources = Sources(sites, {**sets, **received}, reasons, context).beside(variant.name, variant.mark)
    except (UsageError, DataError, ArtifactError) as error:
        return _failed(variant, sites, given, error, context), ""
    found = ", ".join(f"{name}: {one.set_digest}" for name, one in sets.items())
    return MadeVariant(variant, given, tuple(sources)), found


def compared_variants(
    own: Variant,
    studied: Sequence[StudiedSite],
    made: Sequence[MadeVariant],
    predicted: Sequence[SourcePredictions],
    test: Truth,
    tested: Sequence[TestedSite],
    context: Context,
) -> ComparedVariants:
    """Return what each way of making the sets is worth.

    How many originals a site has is told of the study's way alone: of two ways with other classes, the count of one
    class would follow.

    Args:
        own: the study's way.
        studied: what each site gave in that way.
        made: the others.
        predicted: what networks that learnt from each source say.
        test: what is true of the test images, with the trait "site".
        tested: the sites, as places to be tested at.
        context: of the study.
    """
    recipe = context.recipe
    figures = variant_figures(predicted, test, tested, context.corpus.class_names, recipe.evaluate, seed=recipe.seed)
    ways = [(own, "", tuple(studied), "")]
    for one in made:
        untold = tuple(replace(site, originals=None) for site in one.sites)
        ways.append((one.variant, one.variant.name, untold, one.reason))
    return ComparedVariants(
        figures.alone,
        tuple(
            StudiedVariant(
                name=variant.name,
                settings=variant.settings,
                method=recipe_facts(variant.recipe).display_name,
                recipe_digest=variant.recipe.digest,
                sites=sites,
                rows=figures.rows[key],
                reason=reason,
            )
            for variant, key, sites, reason in ways
        ),
    )


def _without_hospital(recipe: Recipe) -> Recipe:
    """The recipe for which no site is made small: sets of variants are never put beside few patients."""
    exchange = recipe.exchange.model_copy(update={"hospital": ""})
    return recipe.model_copy(update={"exchange": exchange})


def _failed(
    variant: Variant,
    sites: Sequence[ExchangeSite],
    given: tuple[StudiedSite, ...],
    error: MedistillError,
    context: Context,
) -> MadeVariant:
    """Say that nothing can be exchanged in a way, and why."""
    context.progress.say(f"{variant.name}: nothing can be exchanged. {error}")
    nothing = tuple(StudiedSite(one.name, one.classes, len(one.rows), 0, None, error.seen, "") for one in sites)
    untaught = tuple(
        SourceData("own_and_others", one.name, variant.mark, None, error.seen, variant=variant.name) for one in sites
    )
    return MadeVariant(variant, given or nothing, untaught, error.seen)
