"""The whole chain: prepare, train experts, distil, evaluate, report; each stage picks up where it was left."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from medistill.artifacts.atomic import private_folder, unwritable, write_text
from medistill.artifacts.cache import cache_root
from medistill.artifacts.kept import keep_json, read_result
from medistill.artifacts.lock import exclusive_lock
from medistill.errors import UsageError
from medistill.evaluate.representatives import rows_by_class
from medistill.methods.registry import method_of, refuse_unmakeable
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.privacy.accounting import Guarantee
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe, load_recipe, recipe_toml, refuse_another_recipe
from medistill.report.record import Report
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.workflow.across import check_across, evaluate_across
from medistill.workflow.ahead import arms_ahead, train_ahead
from medistill.workflow.audit_outlook import say_obstacles
from medistill.workflow.built_in_corpus import built_in_corpus
from medistill.workflow.distill import DISTILLING, distill, refuse_second
from medistill.workflow.encoder_choice import with_encoder, with_teacher
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import train_experts
from medistill.workflow.near_duplicates import HeldOut
from medistill.workflow.prepare import prepare
from medistill.workflow.pruning import pruned, refuse_too_few
from medistill.workflow.report import read_report, write_report
from medistill.workflow.run_log import RunLog
from medistill.workflow.run_record import RunRecord, refuse_another_benchmark
from medistill.workflow.same_corpus import refuse_another_corpus
from medistill.workflow.shared_places import SEEN_BY_ALL, refuse_unlike, refuse_unshared
from medistill.workflow.studied_source import StudiedSource

LOCK = ".lock"
RANKS = "ranks"
"""Folder in a run for the logs of all ranks but the first, and the name of their launcher."""
RECORDS = ("recipe.toml", "run.json", "log.jsonl", RANKS, LOCK, DISTILLING)
"""What lies in a run's folder before its first result; a folder with nothing else may be taken again."""


def run(
    recipe: Recipe,
    *,
    out: str | Path,
    data: str | Path | None = None,
    labels: str | Path | None = None,
    benchmark: StudiedSource | None = None,
    network: NetworkFactory | None = None,
    device: str = "auto",
    resume: bool = False,
    show_real: bool = False,
    ranks: Ranks = ALONE,
    progress: Progress = Silent(),
) -> Report:
    """Go from files to a distilled set and its report in ``out``.

    Several ranks share networks that are trained, and the outer steps of methods whose steps fall into pieces. They
    need one cache and one folder ``out`` on a disk that all of them see.

    Args:
        data: folder of images; None draws the built-in phantom corpus.
        labels: table of labels, where the folders do not say them.
        benchmark: a benchmark of the field in place of ``data``; published figures are set beside the run's.
        network: a network of the user's own (see `train_experts`); None takes the recipe's.
        resume: continue the run that lies in ``out``.
        show_real: put real training images into the report, which then must not be shared.
        ranks: processes that share the work, all of which call this alike (see `medistill.ranks.join`).

    Raises:
        UsageError: ``out`` holds something already and ``resume`` is off, or the recipe or the corpus is another one;
            or the recipe names no encoder for its probe, and not one but none or several are there.
        RecipeError: the method needs more outer steps than the recipe gives it.
    """
    out, recipe = Path(out), with_teacher(with_encoder(recipe, network))
    place = choose_device(device)
    Guarantee.of(recipe)  # refused before anything is read
    refuse_unmakeable(recipe)  # likewise
    refuse_unlike(ranks, recipe)
    resume = ranks.told(lambda: _claim(out, recipe, ranks, resume=resume))
    if ranks.size > 1:
        refuse_unshared(ranks, {"the cache": cache_root(), "the folder": out})
    sole = exclusive_lock(out / LOCK, when_taken=lambda: refuse_second(out), keep=False)
    with sole if ranks.leads else nullcontext():
        if resume:
            refuse_another_benchmark(out / "run.json", benchmark)
        log = RunLog(log_of(out, ranks), progress)
        record = RunRecord(out / "run.json", recipe, place.type, ranks, data=data, labels=labels, benchmark=benchmark)
        ranks.lead(lambda: write_text(out / "recipe.toml", recipe_toml(recipe)))
        say_ranks(ranks, log)
        if benchmark is not None:
            studied = benchmark
            corpus = record.timed("prepare", lambda: ranks.first(lambda: studied.corpus(recipe, log)))
        else:
            if data is None:
                log.say(
                    "No --data was given: the built-in SYNTHETIC phantom corpus is used. It is drawn, not taken of "
                    "anybody."
                )
                data = record.timed("phantom", lambda: ranks.first(lambda: built_in_corpus(log)))
            folder = data
            corpus = record.timed(
                "prepare", lambda: ranks.first(lambda: prepare(folder, recipe, labels=labels, progress=log))
            )
        ranks.agree({"corpus": corpus.content}, do="give every rank the same files, or one cache that all of them see")
        refuse_another_corpus(out, record.values.get("corpus", {}), corpus)
        record.describe(corpus)
        fewest = [recipe.fewest_images] * len(corpus.class_names)
        rows_by_class(corpus, fewest, beside="to be made")  # before hours are spent
        refuse_too_few(corpus, recipe)
        check_across(corpus, recipe)
        if benchmark is None:
            spec = network_spec(corpus, recipe, network)
            seen = record.timed("distill", lambda: ranks.first(lambda: pruned(corpus, recipe, spec, place, log)))
            if ranks.leads:
                opening = "No audit could pass a set of this corpus, which can be made anyway."
                say_obstacles(seen, HeldOut.of(corpus, log), recipe, log, opening)
        trajectories = None
        if method_of(recipe).needs == "experts":
            if recipe.method.quantisation is not None and not (out / "set").is_dir():  # before hours are spent, too
                context = Context(corpus, recipe, network_spec(corpus, recipe, network), place, out, log)
                record.timed("distill", lambda: ranks.lead(lambda: _begin(context)))
            trajectories = record.timed(
                "experts",
                lambda: train_experts(corpus, recipe, network=network, device=device, ranks=ranks, progress=log),
            )

        def ahead(called: Callable[[], bool]) -> None:
            train_ahead(
                corpus, recipe, out=out, ranks=ranks, called=called, network=network, device=device, progress=log
            )

        distilled = record.timed(  # resumed in any case: `_claim` has refused the folder of another run
            "distill",
            lambda: distill(
                corpus,
                trajectories,
                recipe,
                out=out,
                network=network,
                device=device,
                resume=True,
                ranks=ranks,
                meanwhile=ahead if ranks.size > 1 and arms_ahead(corpus, recipe, network) else None,
                progress=log,
            ),
        )
        evaluation = record.timed(
            "evaluate",
            lambda: evaluate(
                distilled, corpus, recipe, out=out, network=network, device=device, ranks=ranks, progress=log
            ),
        )
        if recipe.evaluate.across:
            record.timed(
                "across",
                lambda: evaluate_across(distilled, corpus, recipe, out=out, device=device, ranks=ranks, progress=log),
            )
        if benchmark is not None:
            whole = Context(corpus, recipe, network_spec(corpus, recipe, network), place, out, log)
            record.timed("published", lambda: ranks.lead(lambda: studied.conclude(distilled, evaluation, whole)))
        ranks.lead(lambda: write_report(out, show_real=show_real))
        return read_report(out)


def _begin(context: Context) -> None:
    """Make, or refuse, what a method makes before its experts."""
    corpus, recipe = context.corpus, context.recipe
    seen = replace(context, corpus=pruned(corpus, recipe, context.spec, context.device, context.progress))
    method_of(recipe).begin(seen, range(len(corpus.class_names)))


def log_of(out: Path, ranks: Ranks) -> Path:
    """Where a rank keeps its log."""
    return out / "log.jsonl" if ranks.leads else private_folder(out / RANKS) / f"{ranks.rank}.jsonl"


def say_ranks(ranks: Ranks, progress: Progress) -> None:
    """Say how many ranks there are, where there are several, and whether they are more than the processors."""
    if ranks.size == 1:
        return
    here, processors = ranks.here, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    crowded = f" There are {processors} processors for {here} of them here: more ranks make nothing faster."
    progress.say(
        f"{ranks.size} ranks share the work; the logs of the others lie in the run's folder {RANKS}."
        + (crowded if processors and here > processors else "")
    )
    if ranks.lost:
        progress.say(
            f"The ranks were started again (attempt {ranks.attempt + 1}), since {ranks.lost}. The run goes on."
        )


def _claim(out: Path, recipe: Recipe, ranks: Ranks, *, resume: bool) -> bool:
    """Make the run's folder, or make sure that it may be continued; return whether it is.

    A run of ranks that their launcher has started again goes on, whether or not it was asked for.
    """
    stored, launch = out / "recipe.toml", out / RANKS / "launch.json"
    if launch.is_file():
        resume = resume or ranks.goes_on(read_result(launch, "name of a launcher").get("launch"))
    taken = out.exists() and (not out.is_dir() or any(not is_early(entry.name) for entry in out.iterdir()))
    if taken and not stored.is_file():
        raise UsageError(
            f"{out} holds something already, and no run",
            expected="a folder that is new or empty, or one of a run together with --resume",
            do="choose another --out",
        )
    if taken and not resume:
        raise UsageError(
            f"{out} holds something already",
            expected="a folder that is new or empty",
            do="add --resume to continue the run in it, or choose another --out",
        )
    if resume and stored.is_file():
        refuse_another_recipe(recipe, load_recipe(stored), out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    if ranks.launch is not None:
        private_folder(out / RANKS)
        keep_json(launch, {"launch": ranks.launch})
    return resume


def is_early(name: str) -> bool:
    """Whether a file or folder of that name may lie in a run's folder before its first result."""
    return name in RECORDS or name.startswith(SEEN_BY_ALL)
