"""Giving: each site makes its set and audits it, before anybody would send it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from medistill.artifacts.atomic import private_folder, sha256_file
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, DataError, DivergedError, MedistillError, UsageError
from medistill.evaluate.network_keys import STATISTICS
from medistill.networks.own import NetworkFactory
from medistill.pace import Pace
from medistill.privacy.accounting import Guarantee
from medistill.privacy.attacks.initialisation_leakage import leakage
from medistill.privacy.initialisation import initial_rows
from medistill.ranks.ranks import Ranks
from medistill.recipe import refuse_another_recipe
from medistill.report.studied_site import StudiedSite
from medistill.sharing.merge_source import MergeSource
from medistill.studies.exchange.audited import Auditor, without_exchange
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context
from medistill.training.images import grey_of
from medistill.workflow.compatibility import MadeOf, refuse_misfit
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts
from medistill.workflow.pruning import pruned

Errors = tuple[type[MedistillError], ...]
LEFT_OUT: Errors = (ArtifactError, DataError, DivergedError)
"""Errors for which a site sends nothing, and the others go on."""


def studied_sites(
    sites: Sequence[ExchangeSite], auditor: Auditor, ranks: Ranks, *, left_out: Errors = LEFT_OUT
) -> list[StudiedSite]:
    """Have every site make its set, and audit it, and return what each gave. Of several ranks each takes a site at a
    time.

    Args:
        sites: what each site can give.
        auditor: with the corpus of all sites, and the folder in which each site's set lies.
        ranks: that share the sites.
        left_out: errors for which a site sends nothing; another one ends the study.
    """
    giving, log = [site for site in sites if not site.reason], auditor.context.progress
    pace, queue = Pace(len(giving), 0, time.monotonic()), ranks.queue(len(giving))
    for n in queue:
        pace.advance(n - pace.done, time.monotonic())  # those of other ranks too
        site, left = giving[n], pace.words(time.monotonic())
        log.say(f"Set of site {site.name}, {n + 1} of {len(giving)} sites{left}." + f" {site.note}".rstrip())
        queue.report(n, asdict(_studied(site, auditor, left_out)))
    found = {site.name: StudiedSite.from_json(queue.reports[n]) for n, site in enumerate(giving)}
    return [found.get(site.name) or _without_set(site) for site in sites]


def sets_of(
    sites: Sequence[ExchangeSite], studied: Sequence[StudiedSite], folder: Path, *, fewest: int
) -> tuple[dict[str, MergeSource], dict[str, str]]:
    """Return the set of each site, by its name, and why the others have none.

    Args:
        sites: what each site can give.
        studied: what each gave.
        folder: in which their sets lie.
        fewest: sites that must have one.

    Raises:
        UsageError: fewer have one.
    """
    reasons = {site.name: site.reason for site in studied if site.reason}
    sets: dict[str, MergeSource] = {}
    for site in (one for one in sites if one.name not in reasons):
        place = folder / site.folder / "set"
        digest = sha256_file(place / "images.safetensors")
        sets[site.name] = MergeSource(site.name, DistilledSet.load(place), digest, sender=site.name)
    if len(sets) < fewest:
        raise UsageError(
            f"{len(sets)} of {len(sites)} sites made a set; {'; '.join(f'{k}: {why}' for k, why in reasons.items())}",
            expected="two at least, or nothing can be exchanged",
            do="see to what is said of each, and repeat the command; where a training diverged, lower "
            "method.experts.lr or method.student_lr_lr",
        )
    return sets, reasons


def _studied(site: ExchangeSite, auditor: Auditor, left_out: Errors) -> StudiedSite:
    """Make the set of a site, unless an earlier call did, and audit it; or say why there is none."""
    context, log = without_exchange(auditor.context), auditor.context.progress
    folder = private_folder(context.out / site.folder)
    try:
        distilled = _finished(folder, site, context)
        if distilled is None:
            distilled = _distilled(folder, site, context, auditor.network)
    except left_out as error:
        log.say(f"Site {site.name} sends nothing. {error}")
        return replace(_without_set(site), reason=error.seen)
    if auditor.context.recipe.exchange.audit != "off":
        log.say(f"Audit of the set of site {site.name}.")
    promised = Guarantee.of_set(distilled.provenance)
    return replace(
        _without_set(site),
        set_images=distilled.shown,
        recovered=_recovered(site, distilled, context),
        audit=auditor.of(site, distilled),
        guarantee="" if promised is None else promised.sentence,
        epsilon=None if promised is None else promised.epsilon,
    )


def _without_set(site: ExchangeSite) -> StudiedSite:
    return StudiedSite(
        name=site.name,
        classes=site.classes,
        originals=len(site.rows),
        set_images=0,
        recovered=None,
        reason=site.reason,
        note=site.note,
    )


def _distilled(folder: Path, site: ExchangeSite, context: Context, network: NetworkFactory | None) -> DistilledSet:
    """Distil what a site can give."""
    share, recipe, device, log = site.share(context.corpus), context.recipe, context.device.type, context.progress
    experts = followed_experts(share, recipe, network=network, device=device, progress=log)
    return distill(
        share,
        experts,
        recipe,
        out=folder,
        classes=site.classes,
        network=network,
        device=device,
        resume=True,
        progress=log,
    )


def _finished(folder: Path, site: ExchangeSite, context: Context) -> DistilledSet | None:
    """Return the set that an earlier call made, if it did. Settings that decide nothing of it may have changed since.

    Raises:
        UsageError: it was made from other images, with another network or under another recipe.
    """
    if not (folder / "set" / "manifest.json").is_file():
        return None
    done = DistilledSet.load(folder / "set")
    refuse_misfit(MadeOf.of_set(done), site.share(context.corpus), "exchange", spec=context.spec, where=folder)
    stored = done.provenance.made_with(str(folder / "set"))
    statistics = {name: getattr(stored.evaluate, name) for name in STATISTICS}
    evaluate = context.recipe.evaluate.model_copy(update=statistics)
    mine = context.recipe.model_copy(update={"evaluate": evaluate, "audit": stored.audit})
    refuse_another_recipe(mine, stored, folder)
    return done


def _recovered(site: ExchangeSite, distilled: DistilledSet, context: Context) -> int | None:
    """How many images of a set give away the real ones that they began as; None where they did not begin as such."""
    share, device = site.share(context.corpus), context.device
    seen = pruned(share, context.recipe, context.spec, device, context.progress)
    began_as = initial_rows(distilled, seen).rows
    if began_as is None:
        return None
    whole, rows = distilled.expanded(), share.rows("train")
    found = leakage(
        torch.from_numpy(whole.normalisation.grey(whole.images)).flatten(1).to(device),
        whole.labels,
        began_as,
        rows,
        share.labels[rows],
        lambda some: grey_of(share, some, device).flatten(1),
    )
    return int(found.recovered.sum())
