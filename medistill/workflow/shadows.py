"""Shadows: the set made again, small, from random halves of the patients, so that it is known what each was made of."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.denoising.denoisers import forget_denoiser
from medistill.errors import ArtifactError, DataError, DivergedError
from medistill.evaluate.arms import Arms
from medistill.evaluate.protocol import random_beside
from medistill.methods.registry import method_of, recipe_facts
from medistill.networks.own import NetworkFactory
from medistill.privacy.membership import SOURCES, Source
from medistill.progress import Progress, StepsInside
from medistill.quantisation.cells import patients_by_share
from medistill.quantisation.decoders import forget_autoencoder
from medistill.ranks.ranks import ALONE
from medistill.recipe import AuditRecipe, PruneRecipe, Recipe
from medistill.training.context import Context
from medistill.training.ensemble import JobRunner, Outputs, OutputsFile
from medistill.training.images import LabelledImages
from medistill.training.randomness import derive_seed
from medistill.workflow.attacked_networks import SAID, attack_jobs, confidences
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts
from medistill.workflow.label_answers import label_answers

CANARY_PATIENTS = 20
"""One training patient in so many may become a canary, so that the shadows stay like the set."""
_LABELS = "labels"


@dataclass(frozen=True)
class ShadowPlan:
    """Which training images each of K shadows holds, and under which labels.

    Attributes:
        rows: int64 (N,), the training images, as rows of the corpus.
        labels: int64 (N,), their labels, and the wrong ones of the canaries.
        canaries: int64 (C,), which of the N are canaries.
        held: bool (K, N).
        ordinary: bool (N,), images of patients who have nothing to do with canaries.
    """

    rows: np.ndarray
    labels: np.ndarray
    canaries: np.ndarray
    held: np.ndarray
    ordinary: np.ndarray

    def corpus(self, whole: Corpus, shadow: int) -> Corpus:
        """What a shadow is made from: the same images on disk, the others left out of the training split."""
        held, labels, splits = self.held[shadow], whole.labels.copy(), whole.splits.copy()
        labels[self.rows] = self.labels
        splits[self.rows[~held]] = LEFT_OUT
        content = hashlib.sha256(whole.content.encode() + held.tobytes() + self.labels.tobytes()).hexdigest()
        return replace(whole, content=content, labels=labels, splits=splits)

    def lacking(self, class_names: tuple[str, ...], needed: int) -> str:
        """Why these shadows cannot be distilled, as the end of "cannot be made, because ..."; else empty."""
        for c, name in enumerate(class_names):
            fewest = int(min((np.sum(held & (self.labels == c)) for held in self.held), default=needed))
            if fewest < needed:
                wanted = "1 is" if needed == 1 else f"{needed} are"
                return f"half of the patients has only {fewest} training images of class {name}, and {wanted} needed"
        return ""


def plan_shadows(corpus: Corpus, recipe: Recipe) -> ShadowPlan:
    """Draw the halves and the canaries.

    Each shadow holds half of the patients of each class, drawn without regard to the other shadows, so that these tell
    nothing of what it holds. A patient is held with all images or with none. A canary is the first image of a patient
    whose other images no shadow holds; a coin decides for each shadow whether it holds the canary.
    """
    rows = corpus.rows("train")
    patients, first, whose = np.unique(corpus.groups[rows], return_index=True, return_inverse=True)
    labels, classes = corpus.labels[rows].copy(), len(corpus.class_names)
    rng = np.random.default_rng(derive_seed(recipe.seed, "canaries"))
    count = min(recipe.audit.canaries, len(patients) // CANARY_PATIENTS) if classes > 1 else 0
    chosen = rng.permutation(len(patients))[:count]
    canaries = first[chosen]
    labels[canaries] = (labels[canaries] + rng.integers(1, classes, count)) % classes if count else labels[canaries]
    class_of = corpus.labels[rows][first]
    class_of[chosen] = -1
    held = np.zeros((recipe.audit.shadows, len(rows)), bool)
    for shadow in range(recipe.audit.shadows):
        rng = np.random.default_rng(derive_seed(recipe.seed, "shadow", shadow))
        inside = np.zeros(len(patients), bool)
        for c in range(classes):
            order = rng.permutation(np.flatnonzero(class_of == c))
            inside[order[: (len(order) + int(rng.integers(2))) // 2]] = True
        held[shadow] = inside[whose]
        held[shadow, canaries] = rng.integers(2, size=count) == 1
    return ShadowPlan(rows, labels, canaries, held, ~np.isin(whose, chosen))


def shadow_recipe(recipe: Recipe, shadow: int) -> Recipe:
    """The recipe of a run, cut down to the budget of a shadow, which is made from what is pruned already.

    Where the budget has fewer outer steps than the method can be made with, it gets as many as it needs.
    """
    settings = recipe.audit
    steps = max(settings.shadow_iterations, method_of(recipe).least_steps(recipe))
    return recipe.model_copy(
        update={
            "seed": derive_seed(recipe.seed, "shadow recipe", shadow) % 2**31,
            # No thresholds, so that a shadow that was begun goes on where these have changed since.
            "audit": AuditRecipe(shadow_networks=settings.shadow_networks),
            "prune": PruneRecipe(),
            "method": recipe.method.cut_down(experts=settings.shadow_experts, iterations=steps),
        }
    )


def shadow_obstacle(plan: ShadowPlan, corpus: Corpus, recipe: Recipe) -> str:
    """Why a class has too few patients for shadows, as the end of "cannot be made, because ..."; else empty."""
    return plan.lacking(corpus.class_names, recipe.fewest_images) or _too_few_for_a_cell(plan, corpus, recipe)


def no_shadows(plan: ShadowPlan, corpus: Corpus, recipe: Recipe) -> str:
    """Why no shadow can be made of this corpus under this recipe, likewise; else empty."""
    if reason := unchoosable(corpus, recipe):
        return reason
    if not recipe.audit.shadows:
        return "audit.shadows is 0"
    return shadow_obstacle(plan, corpus, recipe)


def unchoosable(corpus: Corpus, recipe: Recipe) -> str:
    """Why the images of what is made for an audit cannot be chosen, likewise; else empty."""
    unchosen = not recipe_facts(recipe).outer_steps or (recipe.privacy.mode == "dp" and recipe.privacy.choose == "off")
    if len(corpus.rows("val")) or unchosen:
        return ""
    return "what is made for the audit is chosen on validation images, and the corpus has none"


def _too_few_for_a_cell(plan: ShadowPlan, corpus: Corpus, recipe: Recipe) -> str:
    """Why a class of a shadow cannot be quantised, as the end of "cannot be made, because ..."; else empty."""
    if recipe.method.quantisation is None:
        return ""
    groups, least = corpus.groups[plan.rows], recipe.method.quantisation.min_cluster_size
    classes = len(corpus.class_names)
    by_share = [patients_by_share(plan.labels[held], groups[held], classes) for held in plan.held]
    fewest = np.min(by_share, axis=0) if by_share else np.full(classes, least)
    for name, count in zip(corpus.class_names, fewest, strict=True):
        if count < least:
            return (
                f"half of the patients has only {count} of class {name} by their share of its images, and "
                f"method.quantise.min_cluster_size is {least}"
            )
    return ""


@dataclass(frozen=True)
class ShadowAnswers:
    """What the networks of K shadows say of the N training images, and of which each source was made.

    Attributes:
        confidence: source -> float32 (K, N), of the label in the plan, mean over the networks.
        member: source -> bool (K, N), the source held the image.
        seconds: what all of it took.
        labels: float32 (K, C), how much more the soft labels of each say the wrong class of each canary; None where
            there is no canary, or one of them has no soft labels of classes.
    """

    confidence: Mapping[Source, np.ndarray]
    member: Mapping[Source, np.ndarray]
    seconds: float
    labels: np.ndarray | None = None


def ask_shadows(plan: ShadowPlan, context: Context, *, key: str, network: NetworkFactory | None) -> ShadowAnswers:
    """Distil every shadow that is not there yet, train networks on it and on its controls, and ask them.

    Only what the networks say is kept, privately, a file a shadow; the shadow itself and its experts are removed.
    Several ranks take a shadow each at a time.

    Args:
        plan: what each shadow holds.
        context: the whole corpus and the recipe of the set; ``out`` is the folder of these files.
        key: what they depend on; a file of another key is made again.
        network: the user's own, where the set was made with it.

    Raises:
        DivergedError: an expert, a distillation or a network left the finite numbers, with the shadow's number.
        DataError: a shadow's half of the patients is too small to be quantised, likewise.
        ArtifactError: what was kept of a shadow cannot be read again.
    """
    count, progress = len(plan.held), context.progress
    stores = [OutputsFile(context.out / f"shadow_{shadow:03d}.safetensors", key, SAID) for shadow in range(count)]
    found = {shadow: there for shadow, store in enumerate(stores) if (there := store.load(progress.say)) is not None}
    missing = context.ranks.told(lambda: [shadow for shadow in range(count) if shadow not in found])
    with progress.task("Attacking shadow distillations", count, done=count - len(missing)) as task:
        queue, failed = context.ranks.queue(len(missing), elsewhere=task.advance), False
        for place in queue:
            if failed:  # it stands before whatever a later one could say
                continue
            shadow = missing[place]
            which, run = f"shadow {shadow + 1} of {count}", _run_folder(context.out, shadow, key)
            inside = replace(context, out=run, progress=StepsInside(task, which), ranks=ALONE)
            try:
                stores[shadow].save(_asked(plan, shadow, inside, network))
            except (DivergedError, DataError) as error:
                failed = True
                if isinstance(error, DataError):
                    shutil.rmtree(run)
                kind = type(error).__name__
                queue.report(place, {"kind": kind, "seen": f"{which}: {error.seen}", "do": [error.expected, error.do]})
            task.advance(figures=which)
    for _, why in sorted(queue.reports.items()):
        expected, do = why["do"]
        raise (DataError if why["kind"] == "DataError" else DivergedError)(why["seen"], expected=expected, do=do)
    made = [_kept(store, progress) for store in stores]
    return ShadowAnswers(
        {source: np.stack([one.arrays[f"{source}_confidence"] for one in made]) for source in SOURCES},
        {source: np.stack([one.arrays[f"{source}_member"] > 0 for one in made]) for source in SOURCES},
        sum(one.seconds for one in made),
        np.stack([one.arrays[_LABELS] for one in made]) if all(_LABELS in one.arrays for one in made) else None,
    )


def _kept(store: OutputsFile, progress: Progress) -> Outputs:
    """Return what was kept of a shadow, by this process or by another rank."""
    kept = store.load(progress.say)
    if kept is None:
        raise ArtifactError(
            f"what was made of {store.path.name} cannot be read",
            expected="answers on a disk that all ranks share, sealed with one secret key (MEDISTILL_KEYS)",
            do="repeat the command",
        )
    return kept


def _run_folder(folder: Path, shadow: int, key: str) -> Path:
    """Where a shadow is made; what an interrupted call with other settings left there is removed."""
    run = folder / f"shadow_{shadow:03d}-{key[:12]}"
    for other in folder.glob(f"shadow_{shadow:03d}-*"):
        if other != run:
            shutil.rmtree(other)
    return private_folder(run)


def _asked(plan: ShadowPlan, shadow: int, whole: Context, network: NetworkFactory | None) -> Outputs:
    """Make one shadow and ask the networks of every source; an interrupted one is taken up."""
    started = time.monotonic()
    context = replace(whole, corpus=plan.corpus(whole.corpus, shadow), recipe=shadow_recipe(whole.recipe, shadow))
    corpus, recipe, device = context.corpus, context.recipe, context.device
    trajectories = followed_experts(
        corpus, recipe, network=network, use="shadow", device=device.type, progress=context.progress
    )
    made = distill(
        corpus,
        trajectories,
        recipe,
        out=context.out,
        network=network,
        device=device.type,
        resume=True,
        use="shadow",
        progress=context.progress,
    )
    shown = LabelledImages.of_corpus(corpus, plan.rows, made.normalisation, device)
    arms = Arms(made, corpus, recipe, device, encoder=context.spec.encoder)
    runner = JobRunner(
        attack_jobs(arms, recipe.audit.shadow_networks, shown, plan.labels, context), context.progress.say
    )
    runner.run(context, "networks")
    subset = random_beside(made, corpus, recipe.seed, 0)
    arrays: dict[str, np.ndarray] = {}
    for source in SOURCES:
        told = np.mean(confidences(runner.of(source)), axis=0)
        member = np.isin(plan.rows, subset) if source == "random" else plan.held[shadow]
        arrays |= {f"{source}_confidence": told.astype(np.float32), f"{source}_member": member.astype(np.uint8)}
    if len(plan.canaries) and made.by_class:
        asked, beside, wrong = plan.rows[plan.canaries], plan.rows[plan.ordinary], plan.labels[plan.canaries]
        arrays[_LABELS] = label_answers(made, whole.corpus, asked, wrong, beside, device).astype(np.float32)
    if trajectories is not None:
        shutil.rmtree(trajectories.path)
    forget_autoencoder(corpus, recipe)
    forget_denoiser(corpus, recipe)
    shutil.rmtree(context.out)
    return Outputs(arrays, time.monotonic() - started)
