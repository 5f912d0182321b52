"""Ahead: networks on originals that the evaluation will ask for, trained by ranks that would wait while one distils."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import RankError, SaidElsewhere
from medistill.evaluate.arms import Arms
from medistill.evaluate.network_keys import arm_stores
from medistill.evaluate.protocol import held_out
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.progress import Progress, Silent
from medistill.ranks.in_step import CalledError, UntilCalled
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe
from medistill.recipe.arms import CONTROLS, ArmName
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.training.ensemble import JobRunner
from medistill.training.fitted_normalisation import fitted_normalisation
from medistill.workflow.choose_schedules import choose_schedule
from medistill.workflow.evaluate import arm_job
from medistill.workflow.pruning import pruned
from medistill.workflow.tested import trainable


def arms_ahead(corpus: Corpus, recipe: Recipe, network: NetworkFactory | None = None) -> tuple[ArmName, ...]:
    """Return the arms whose networks can be trained before there is a set: those of originals, but for probes of an
    encoder, all of which take no time worth saving."""
    if network_spec(corpus, recipe, network).encoder is not None:
        return ()
    return tuple(arm for arm in CONTROLS if arm in trainable(corpus, recipe, Silent()).evaluate.arms)


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
    Whatever goes wrong here is said, and met again by the evaluation where it is no accident: nobody waits for this.

    Args:
        out: folder of the run.
        ranks: of whom the first distils.
        called: whether it is done.
        progress: told of it.
    """
    mine = arms_ahead(corpus, recipe, network)[ranks.rank - 1 :: ranks.size - 1]
    if not mine:
        return
    progress.say("While rank 0 distils, networks on originals are trained, to compare with.")
    spec, place = network_spec(corpus, recipe, network), choose_device(device)
    until = UntilCalled(progress, called)
    try:
        context = Context(corpus, trainable(corpus, recipe, Silent()), spec, place, out, until, ranks=ALONE)
        seen = fitted_normalisation(pruned(corpus, recipe, spec, place), recipe, Silent())
        arms = Arms(_stand_in(corpus, recipe, seen), corpus, context.recipe, place)
        shown, stores = cache(lambda: held_out(corpus, seen, place)), arm_stores(context, arms)
        for arm in mine:
            if context.recipe.schedule.choose == "validation":
                arms.schedules = {arm: choose_schedule(arm, arms, stores[arm], context).chosen}
            jobs = [arm_job(arm, n, arms, stores[arm], shown, context) for n in range(arms.networks(arm))]
            JobRunner(jobs, until.say).run(context, f"Training ahead on {spec.name}")
    except CalledError:
        return
    except (RankError, SaidElsewhere):
        raise
    except Exception as error:  # noqa: BLE001  # memory, a full disk, a damaged cache: the set must not be lost by it
        progress.say(f"Networks are trained ahead no further ({type(error).__name__}); the evaluation trains them.")


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
