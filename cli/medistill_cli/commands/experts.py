"""`medistill experts`: train the experts of a corpus and keep their trajectories in the private cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.brought import named_encoder
from medistill_cli.corpus import read_corpus
from medistill_cli.ranks import sharing
from medistill_cli.recipe_choice import choose_recipe, overrides_of, words_of
from medistill_cli.results import print_facts, print_json, print_next, size

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories


def experts(
    data: options.Data = None,
    labels: options.Labels = None,
    recipe: options.RecipeName = None,
    method: options.Method = None,
    sites: options.Sites = None,
    classes: options.Classes = None,
    settings: options.Settings = None,
    encoder: options.EncoderName = None,
    seed: options.Seed = None,
    dp_epsilon: options.DpEpsilon = None,
    dp_delta: options.DpDelta = None,
    shard: Annotated[
        str,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Train only the I-th of N parts of the experts, counted from 1. The parts fill one store, if the "
            "machines share a cache (MEDISTILL_CACHE).",
        ),
    ] = "1/1",
    device: options.Device = "auto",
    processes: options.Processes = None,
    rank_timeout: options.RankTimeout = 30.0,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Train the experts that distilled images will imitate.

    Their training steps go into the private cache. `distill` does this by itself; run it alone to have the experts
    ready, or to add more (method.experts.count). Experts that are in the cache already are not trained again.

    Several machines, or a Slurm array, can train them together with --shard, each its own part. They need one folder
    that all of them see, named by MEDISTILL_CACHE, and the same data, recipe and seed. No machine waits for another,
    and a part that broke off is run again. Run `medistill prepare` once before: then one machine alone reads the files.

    \b
    Examples:
      medistill experts --data xray/
      medistill experts --data xray/ --recipe covid-xray-cpu --set method.experts.count=16
      medistill experts --data xray/ --shard 2/8
      medistill experts --data xray/ --processes 4
    \b
    In a Slurm job script, with #SBATCH --array=1-8:
      export MEDISTILL_CACHE=/shared/medistill
      medistill experts --data /shared/xray --shard $SLURM_ARRAY_TASK_ID/8
    """
    with sharing("repeat", processes, rank_timeout) as (progress, ranks):
        seen_by = ranks.first(lambda: named_encoder(encoder))
        chosen = choose_recipe(
            recipe,
            overrides_of(
                settings,
                encoder=seen_by,
                method=method,
                seed=seed,
                sites=sites,
                classes=classes,
                dp_epsilon=dp_epsilon,
                dp_delta=dp_delta,
            ),
            data=data,
            device=device,
            progress=progress,
            encoder=seen_by,
        )
        from medistill.recipe import experts_of

        experts_of(chosen.method)  # refused before anything is read, where the method follows none
        from medistill.workflow.shard import Shard

        Shard.parse(shard)  # before hours are spent on reading
        from medistill.artifacts.cache import cache_root
        from medistill.workflow.expert_store import tally
        from medistill.workflow.experts import train_experts
        from medistill.workflow.shared_places import refuse_unlike, refuse_unshared

        refuse_unlike(ranks, chosen)
        if ranks.size > 1:
            refuse_unshared(ranks, {"the cache": cache_root()})
        corpus = ranks.first(lambda: read_corpus(data, labels, chosen, progress))
        trajectories = train_experts(corpus, chosen, shard=shard, device=device, ranks=ranks, progress=progress)
    if not ranks.leads:
        return
    missing = trajectories.missing()
    if json:
        print_json(
            {
                "trajectories": str(trajectories.path),
                "key": trajectories.key,
                "experts": trajectories.count,
                "missing": missing,
                "epochs": trajectories.epochs,
                "parameters": trajectories.parameters,
                "store": trajectories.store,
                "largest_relative_error": trajectories.largest_relative_error,
                "bytes": trajectories.bytes,
                "corpus": corpus.content,
            }
        )
        return
    print_facts(
        [
            ("Experts", f"{trajectories.count}, {trajectories.epochs} epochs each"),
            *([("In the store", tally(trajectories))] if missing else []),
            ("Parameters", str(trajectories.parameters)),
            ("Stored as", _stored(trajectories)),
            ("Kept in (private)", str(trajectories.path)),
        ]
    )
    if missing:
        return
    words = words_of(
        data,
        labels,
        recipe,
        settings,
        method=method,
        seed=seed,
        sites=sites,
        classes=classes,
        dp_epsilon=dp_epsilon,
        dp_delta=dp_delta,
    )
    print_next([(["medistill", "distill", *words], "distil with these experts")])


def _stored(trajectories: Trajectories) -> str:
    text = f"{trajectories.store}, {size(trajectories.bytes)}"
    error = trajectories.largest_relative_error
    return f"{text}; each value off by {100 * error:.2f} % at most" if error else text
