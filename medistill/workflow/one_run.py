"""One run: the set made once more, as it was, with a coin for each of some patients that decides who is in."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.trajectories import Trajectories
from medistill.denoising.denoisers import forget_denoiser
from medistill.errors import DataError
from medistill.networks.own import NetworkFactory
from medistill.quantisation.decoders import forget_autoencoder
from medistill.recipe import LEAST_COINS, UNITS, AuditRecipe, PruneRecipe, Recipe
from medistill.training.context import Context
from medistill.training.randomness import derive_seed
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts
from medistill.workflow.shadows import unchoosable


@dataclass(frozen=True)
class OneRunPlan:
    """For whom coins were tossed.

    Attributes:
        rows: int64 (N,), their training images, as rows of the corpus.
        patients: int64 (m,), who they are, ascending.
        inside: bool (m,), by the coins.
    """

    rows: np.ndarray
    patients: np.ndarray
    inside: np.ndarray

    def held(self, corpus: Corpus) -> np.ndarray:
        """Which of the N images are in (bool)."""
        return self.inside[np.searchsorted(self.patients, corpus.groups[self.rows])]

    def corpus(self, whole: Corpus) -> Corpus:
        """What the set is made of: the same images on disk, those who are not in left out of the training split."""
        held, splits = self.held(whole), whole.splits.copy()
        splits[self.rows[~held]] = LEFT_OUT
        content = hashlib.sha256(whole.content.encode() + b"one run" + splits.tobytes()).hexdigest()
        return replace(whole, content=content, splits=splits)


def plan_one_run(corpus: Corpus, recipe: Recipe) -> OneRunPlan:
    """Draw the patients and toss the coins: fair, independent, and of nothing else that is drawn.

    Args:
        corpus: as the method saw it, without what was pruned.
        recipe: of the set; its seed decides.
    """
    rows = corpus.rows("train")
    everybody = np.unique(corpus.groups[rows])
    rng = np.random.default_rng(derive_seed(recipe.seed, "one run"))
    chosen = np.sort(rng.permutation(everybody)[: recipe.audit.one_run_canaries])
    inside = rng.integers(2, size=len(chosen)) == 1
    return OneRunPlan(rows[np.isin(corpus.groups[rows], chosen)], chosen, inside)


def no_one_run(plan: OneRunPlan, corpus: Corpus, recipe: Recipe) -> str:
    """Why the set cannot be made once more, as the end of "cannot be made, because ..."; else empty."""
    if len(plan.patients) < LEAST_COINS:
        unit = UNITS[corpus.split_unit]
        return f"coins were tossed for {len(plan.patients)} {unit}, and {LEAST_COINS} are needed"
    return unchoosable(corpus, recipe)


def one_run_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the set, its budget whole, with another seed; what it prunes is pruned already."""
    return recipe.model_copy(
        update={
            "seed": derive_seed(recipe.seed, "one run recipe") % 2**31,
            "audit": AuditRecipe(networks=recipe.audit.networks),  # no thresholds, which decide nothing here
            "prune": PruneRecipe(),
        }
    )


def make_once_more(context: Context, network: NetworkFactory | None) -> DistilledSet:
    """Make the set of a corpus and a recipe that are those of one run, in ``context.out``; a run that is there is taken
    up. It is no release: it is entered in no ledger, and whoever asks for it removes it.

    Raises:
        DataError: a class lacks too many patients for it.
        DivergedError: an expert or the distillation left the finite numbers.
    """
    corpus, recipe, device, progress = context.corpus, context.recipe, context.device.type, context.progress
    trajectories = followed_experts(corpus, recipe, network=network, use="shadow", device=device, progress=progress)
    try:
        made = distill(
            corpus,
            trajectories,
            recipe,
            out=context.out,
            network=network,
            device=device,
            resume=True,
            use="shadow",
            progress=progress,
        )
    except DataError:
        shutil.rmtree(context.out, ignore_errors=True)
        _forget(trajectories, corpus, recipe)
        raise
    _forget(trajectories, corpus, recipe)
    return made


def _forget(trajectories: Trajectories | None, corpus: Corpus, recipe: Recipe) -> None:
    """Remove what was trained for the set alone."""
    if trajectories is not None:
        shutil.rmtree(trajectories.path, ignore_errors=True)
    forget_autoencoder(corpus, recipe)
    forget_denoiser(corpus, recipe)
