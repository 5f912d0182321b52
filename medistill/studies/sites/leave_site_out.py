"""Leave one site out: distil from the other sites, and test on the one that none of the networks has seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus, save_without_site
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.lock import exclusive_lock
from medistill.encoders.features import carry_features
from medistill.errors import ArtifactError, DataError, DivergedError, UsageError
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.pace import Pace
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe
from medistill.recipe.limits import LargeRecipe, refuse_large
from medistill.report.held_out_sites import SitePlan, load_sites
from medistill.report.record import HeldOutSite
from medistill.studies.sites.plan import SitesRecord, plan_sites
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.training.encoded import encode_corpus
from medistill.workflow.built_in_corpus import built_in_corpus
from medistill.workflow.compatibility import MadeOf, refuse_misfit
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import followed_experts
from medistill.workflow.prepare import prepare
from medistill.workflow.run import log_of
from medistill.workflow.run_log import RunLog
from medistill.workflow.shared_places import refuse_unlike, refuse_unshared


def leave_site_out(
    run: str | Path,
    *,
    data: str | Path | None = None,
    labels: str | Path | None = None,
    network: NetworkFactory | None = None,
    large_recipe: LargeRecipe = "refuse",
    device: str = "auto",
    ranks: Ranks = ALONE,
    progress: Progress = Silent(),
) -> tuple[HeldOutSite, ...]:
    """For each site of a run's corpus, train experts, distil and evaluate without it, with the run's own recipe.

    The other sites keep their train and validation splits. Results go to ``RUN/sites``, a site at a time; a call that
    was interrupted goes on where it was when it is repeated, and finished sites are not done again.

    Args:
        run: folder of a run whose set is finished.
        data: folder that it was made from; None for the built-in corpus.
        labels: its table of labels, where it had one.
        network: the user's own, where the run was made with it (see `train_experts`).
        large_recipe: what to do where the recipe inside the set asks for more than a received one may.
        ranks: processes that share the sites, each one at a time.

    Raises:
        RecipeError: the recipe asks for more than it may.
        UsageError: there is no such run, it is differentially private, it was made from another corpus or with another
            network, or its corpus has fewer than two sites; or ``RUN/sites`` holds results of something else.
    """
    run = Path(run)
    source = _set_of(run)
    recipe = _recipe_of(source, run, large_recipe)
    folder = private_folder(run / "sites")
    refuse_unlike(ranks, recipe)
    if ranks.size > 1:
        refuse_unshared(ranks, {"the cache": cache_root(), "the folder": folder})
    sole = exclusive_lock(folder / ".lock", when_taken=lambda: _refuse_second(run), keep=False)
    with sole if ranks.leads else nullcontext():
        log = RunLog(log_of(run, ranks), progress)

        def read() -> Corpus:
            return prepare(built_in_corpus(log) if data is None else data, recipe, labels=labels, progress=log)

        corpus = ranks.first(read)
        context = Context(
            corpus, recipe, network_spec(corpus, recipe, network), choose_device(device), folder, progress=log
        )
        refuse_misfit(MadeOf.of_set(source), corpus, "leave a site out", spec=context.spec, where=run)
        plans = plan_sites(corpus, recipe)
        record = ranks.first(lambda: SitesRecord(folder / "sites.json", corpus, recipe))
        unfinished = ranks.told(lambda: [plan.site for plan in plans if not record.has(plan.site)])
        waiting = [plan for plan in plans if plan.site in unfinished]
        for plan in waiting:
            if plan.reason and ranks.leads:
                log.say(f"Site {plan.site} cannot be left out, because {plan.reason}.")
                record.add(plan)
        _work([plan for plan in waiting if not plan.reason], record, context, network, ranks)
    return load_sites(run)


def _work(
    plans: Sequence[SitePlan], record: SitesRecord, context: Context, network: NetworkFactory | None, ranks: Ranks
) -> None:
    """Do what no other rank does, a site at a time. The first rank records its own at once, those of others at the end:
    their sets and networks are kept all the same, and found again."""
    if context.spec.encoder is not None:
        ranks.first(lambda: encode_corpus(context))
    pace, queue = Pace(len(plans), 0, time.monotonic()), ranks.queue(len(plans))
    for n in queue:
        pace.advance(n - pace.done, time.monotonic())  # those of other ranks too
        plan = plans[n]
        context.progress.say(
            f"Without site {plan.site}, {n + 1} of {len(plans)} sites to do{pace.words(time.monotonic())}."
            + (f" {plan.note}" if plan.note else "")
        )
        done = _done(plan, context, network)
        queue.report(n, {"reason": done.reason})
        if ranks.leads:
            record.add(done)
    if ranks.leads:
        for n, found in sorted(queue.reports.items()):
            if not record.has(plans[n].site):
                record.add(plans[n].replaced(reason=found["reason"]))
    ranks.all_say("recorded")


def _done(plan: SitePlan, context: Context, network: NetworkFactory | None) -> SitePlan:
    """Train, distil and evaluate without a site; return the plan, with the reason where a training diverged, or where a
    class cannot be quantised without the site."""
    without = save_without_site(private_folder(cache_root() / "corpora"), context.corpus, plan.site, plan.classes)
    recipe, out, device, log = context.recipe, context.out / plan.folder, context.device.type, context.progress
    if context.spec.encoder is not None:
        carry_features(context.corpus, without, context.spec.encoder, context.device, log)
    try:
        trajectories = followed_experts(without, recipe, network=network, device=device, progress=log)
        distilled = distill(
            without, trajectories, recipe, out=out, network=network, device=device, resume=True, progress=log
        )
        evaluate(distilled, without, recipe, out=out, network=network, device=device, progress=log)
    except (DivergedError, DataError) as error:
        log.say(str(error))
        return plan.replaced(reason=error.seen)
    return plan


def _recipe_of(source: DistilledSet, run: Path, large_recipe: LargeRecipe) -> Recipe:
    """Return the recipe inside the set.

    Raises:
        RecipeError: it asks for more than it may.
        UsageError: it is differentially private.
    """
    recipe = source.provenance.made_with(str(run / "set"))
    refuse_large(recipe.model_dump(), f"the recipe inside {run / 'set'}", large_recipe)
    if recipe.privacy.mode == "dp":
        raise UsageError(
            f"the set in {run} is differentially private",
            expected="a set without a privacy budget: experts without each site would use the same patients again, "
            "and spend the budget as often",
            do="leave sites out of a run with privacy.mode = none that never leaves the house",
        )
    return recipe


def _set_of(run: Path) -> DistilledSet:
    if not (run / "set" / "manifest.json").is_file():
        raise UsageError(
            f"{run} holds no run with a finished set",
            expected="the folder that `medistill distill` wrote",
            do="check the path, or finish the run with --resume first",
        )
    source = DistilledSet.load(run / "set")
    if None in (source.provenance.recipe, source.provenance.corpus, source.provenance.network):
        raise ArtifactError(
            f"{run / 'set'} does not say what it was made of",
            expected="a set that medistill distilled",
            do="distil it again with `medistill distill`",
        )
    return source


def _refuse_second(run: Path) -> None:
    raise UsageError(
        f"another process leaves the sites of {run} out",
        expected="one process a run",
        do="wait until it has ended",
    )
