"""Ahead: networks on originals that the evaluation will ask for, trained by ranks that would wait while one distils."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DivergedError
from medistill.evaluate.arms import Arms
from medistill.evaluate.network_keys import arm_stores
from medistill.evaluate.protocol import held_out
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.progress import Progress, Silent
from medistill.ranks.in_step import CalledError, UntilCalled
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe
from medistill.recipe.arms import CONTROLS
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.training.ensemble import JobRunner
from medistill.training.fitted_normalisation import fitted_normalisation
from medistill.workflow.choose_schedules import choose_schedule
from medistill.workflow.evaluate import arm_job
from medistill.workflow.pruning import pruned
from medistill.workflow.tested import trainable


def train_ahead(
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: Path,
    ranks: Ranks,
    called: Callable[[], bool],
    network: NetworkFactory | None = None,
    device: str = "auto",
    progress: Progress = Silent(),
) -> None:
    """Choose the schedules of the arms of originals and train their networks, until this rank is called.

    What is made lies in the cache under all that decides it (see `arm_stores`), where the evaluation looks first. It is
    made beside a set that does not exist yet, whose images are as many a class as the recipe says: where the method
    makes fewer, the arms with as many originals are trained again. The arms are dealt out to the ranks but the first.
    An encoder's probes take no time worth saving, and a network that diverges will be met again.

    Args:
        out: folder of the run.
        ranks: of whom the first distils.
        called: whether it is done.
        progress: told of it.
    """
    spec, place = network_spec(corpus, recipe, network), choose_device(device)
    if spec.encoder is not None:
        return
    progress = UntilCalled(progress, called)
    context = Context(corpus, trainable(corpus, recipe, Silent()), spec, place, out, progress, ranks=ALONE)
    seen = fitted_normalisation(pruned(corpus, recipe, spec, place), recipe, Silent())
    arms = Arms(_stand_in(corpus, recipe, seen), corpus, context.recipe, place)
    shown, stores = cache(lambda: held_out(corpus, seen, place)), arm_stores(context, arms)
    mine = [arm for arm in arms.names if arm in CONTROLS][ranks.rank - 1 :: ranks.size - 1]
    if mine:
        progress.say("While rank 0 distils, networks on originals are trained, to compare with.")
    try:
        for arm in mine:
            if context.recipe.schedule.choose == "validation":
                arms.schedules = {arm: choose_schedule(arm, arms, stores[arm], context).chosen}
            jobs = [arm_job(arm, n, arms, stores[arm], shown, context) for n in range(arms.networks(arm))]
            JobRunner(jobs, progress.say).run(context, f"Training ahead on {spec.name}")
    except (CalledError, DivergedError):
        return


def _stand_in(corpus: Corpus, recipe: Recipe, seen: Normalisation) -> DistilledSet:
    """A set with the classes, the shape and the normalisation of the one that is being made, and black images."""
    labels = np.repeat(np.arange(len(corpus.class_names)), recipe.method.ipc)
    return DistilledSet(
        images=np.zeros((len(labels), *corpus.images.shape[1:]), np.float32),
        labels=labels,
        weights=np.ones(len(labels), np.float32),
        stage=np.zeros(len(labels), np.int64),
        student_lr=1.0,
        normalisation=seen,
        class_names=tuple(corpus.class_names),
    )
