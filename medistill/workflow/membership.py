"""Membership: train the networks that the attacks need, attack them, and keep what was found."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json, keep_tensors
from medistill.errors import DataError
from medistill.evaluate.protocol import Arms, answers, random_beside
from medistill.methods.registry import recipe_facts
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec
from medistill.privacy.canaries import CanaryTest, canary_test
from medistill.privacy.confidence import true_class_confidence
from medistill.privacy.distance import distance_scores
from medistill.privacy.membership import (
    RATIO_ATTACKS,
    SOURCES,
    CellTrait,
    Membership,
    MembershipAttack,
    Source,
    likelihood_ratio_attack,
    loss_attack,
    score_attack,
)
from medistill.progress import Progress, Silent, every_epoch_but_last
from medistill.quantisation.cells import patients_by_share
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.training.images import LabelledImages
from medistill.training.randomness import derive_seed, generator
from medistill.workflow.evaluate import STATISTICS
from medistill.workflow.experts import network_spec
from medistill.workflow.likeness import RANGE, grey_of
from medistill.workflow.shadows import ShadowPlan, ask_shadows, kept, plan_shadows, shadow_recipe

LEAST_SHADOWS = 4
"""Fewer shadows cannot tell how an answer varies where an image is not held."""


def attack_membership(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    network: NetworkFactory | None = None,
    device: str = "auto",
    progress: Progress = Silent(),
) -> Membership:
    """Ask of each training patient whether networks trained on the set give away that the patient was used.

    The adversary holds the set and its recipe. Members are the patients of the training split; non-members those of the
    validation and test splits, of whom the former had a say in which images were kept. The loss attack is made on the
    set itself. The likelihood ratio attack and the canaries need many sets that were made with and without each
    patient: these are shadows, made of random halves under a smaller budget (``recipe.audit``), so they tell of the
    method rather than of this set. These attacks are made on as many random real images and on all of them too, so that
    the figures mean something. Where images began as means of several patients', the distance to the images themselves
    is attacked as well, beside as many random real ones.

    What the networks say is kept in ``out/membership`` (mode 0700); a call that was interrupted trains only what is
    missing when it is repeated. The record is ``membership.json`` there.

    Args:
        network: the user's own, where the set was made with it (see `train_experts`).

    Raises:
        DataError: the set was made from another corpus, or has other classes or image shapes.
        DivergedError: a network, an expert or a distillation left the finite numbers.
    """
    _check(distilled, corpus)
    folder, place = private_folder(Path(out) / "membership"), choose_device(device)
    spec = network_spec(corpus, recipe, network)
    attacks, seconds = _loss_attacks(distilled, corpus, recipe, spec, folder, place, progress)
    if distilled.provenance.get("starts_from") == "quantised":
        attacks += distance_attacks(distilled, corpus, recipe, place)
    plan = plan_shadows(corpus, recipe)
    reason = shadow_obstacle(plan, corpus, recipe)
    if recipe.audit.shadows < LEAST_SHADOWS:
        reason = f"audit.shadows is {recipe.audit.shadows}, and {LEAST_SHADOWS} are needed"
    unchosen = not recipe_facts(recipe).outer_steps or (recipe.privacy.mode == "dp" and recipe.privacy.choose == "off")
    if not len(corpus.rows("val")) and not unchosen:
        reason = "a shadow is chosen on validation images, and the corpus has none"
    tests: tuple[CanaryTest, ...] = ()
    told = None
    if not reason:
        key = _digest(corpus.content, spec.identity(), _decisive(recipe), place.type)
        try:
            told = ask_shadows(
                plan, corpus, recipe, folder=folder, key=key, network=network, place=place, progress=progress
            )
        except DataError as error:  # half of the patients can be too few to quantise, where all of them are enough
            reason = f"a set of half of the patients is impossible ({error.seen})"
    if told is None:
        attacks += [
            MembershipAttack(name, source, (), reason=reason) for source in SOURCES for name in RATIO_ATTACKS.values()
        ]
    else:
        seconds += told.seconds
        progress.say("Working out the likelihood ratios.")
        for source in SOURCES:
            attacks += _ratio_attacks(plan, corpus, recipe, told.confidence[source], told.member[source], source)
        if len(plan.canaries):
            tests = tuple(
                canary_test(
                    told.confidence[source][:, plan.canaries] > 0,
                    told.member[source][:, plan.canaries],
                    source,
                    level=recipe.evaluate.confidence,
                )
                for source in SOURCES
            )
    shadow = shadow_recipe(recipe, 0).method
    found = Membership(
        attacks=tuple(attacks),
        canaries=tests,
        networks=recipe.audit.networks,
        shadows=0 if reason else recipe.audit.shadows,
        shadow_networks=recipe.audit.shadow_networks,
        shadow_experts=0 if shadow.followed is None else shadow.followed.count,
        shadow_iterations=shadow.outer_steps,
        confidence=recipe.evaluate.confidence,
        seconds=seconds,
    )
    keep_json(folder / "membership.json", found.as_json(), private=True)
    return found


def shadow_obstacle(plan: ShadowPlan, corpus: Corpus, recipe: Recipe) -> str:
    """Why a class has too few patients for shadows, as the end of "cannot be made, because ..."; else empty."""
    return plan.lacking(corpus.class_names, recipe.fewest_images) or _too_few_for_a_cell(plan, corpus, recipe)


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


def _check(distilled: DistilledSet, corpus: Corpus) -> None:
    if distilled.provenance.get("corpus", corpus.content) != corpus.content:
        raise DataError(
            "the set was made from another corpus, or another split of this one",
            expected="the files that it was made from: only of them is it known who was a member",
            do="give the --data, --labels and settings that the set was made with (its recipe lies in manifest.json)",
        )
    if distilled.class_names != corpus.class_names or distilled.images.shape[1:] != corpus.images.shape[1:]:
        raise DataError(
            f"the set has images {distilled.images.shape[1:]} (C, H, W) of {', '.join(distilled.class_names)}; the "
            f"corpus has {corpus.images.shape[1:]} of {', '.join(corpus.class_names)}",
            expected="the same classes in the same order, and images of one shape",
            do="prepare the corpus with the recipe that the set was made with",
        )


def _loss_attacks(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    spec: NetworkSpec,
    folder: Path,
    place: torch.device,
    progress: Progress,
) -> tuple[list[MembershipAttack], float]:
    """The loss attack on the set and its controls, and the seconds that their networks took to train."""
    train, others = _members(corpus)
    rows = np.concatenate([train, others])
    subset = random_beside(distilled, corpus, recipe.seed, 0)
    arms = Arms(distilled, corpus, recipe, place)
    key = _digest(
        hashlib.sha256(distilled.training_bytes()).hexdigest(),
        corpus.content,
        spec.identity(),
        _decisive(recipe),
        place.type,
    )
    wanted = [(source, number) for source in SOURCES for number in range(recipe.audit.networks)]
    paths = {which: folder / f"{which[0]}_{which[1]:03d}.safetensors" for which in wanted}
    found = {which: arrays for which in wanted if (arrays := kept(paths[which], key, progress.say)) is not None}
    shows = {source: arms.epochs(source) * arms.images(source) for source in SOURCES}
    shown = LabelledImages.of_corpus(corpus, rows, distilled.normalisation, place)
    total = recipe.audit.networks * sum(shows.values())
    with progress.task("Attacking by the loss", total, done=sum(shows[source] for source, _ in found)) as task:
        for source, number in wanted:
            if (source, number) in found:
                continue
            figures = f"{source}, network {number + 1} of {recipe.audit.networks}"
            training, started = arms.training_set(source, 0 if source == "random" else number), time.monotonic()
            numbers = generator(recipe.seed, "attacked", source, number)
            tick = every_epoch_but_last(task, training.schedule.epochs, arms.images(source), figures)
            told = answers(training, [shown], spec, recipe, numbers, place, tick)
            confidence = true_class_confidence(told.probabilities[0], corpus.labels[rows]).astype(np.float32)
            arrays = {"confidence": confidence, "seconds": np.array([time.monotonic() - started])}
            keep_tensors(paths[source, number], arrays, {"key": key})
            found[source, number] = arrays
            task.advance(arms.images(source), figures=figures)
    attacks = []
    for source in SOURCES:
        member = np.isin(rows, subset if source == "random" else train)
        taken = np.flatnonzero(member | np.isin(rows, others))
        confidence = np.stack([found[source, number]["confidence"] for number in range(recipe.audit.networks)])
        attacks.append(
            loss_attack(
                confidence[:, taken],
                member[taken],
                corpus.groups[rows[taken]],
                _cells(corpus, rows[taken]),
                source,
                level=recipe.evaluate.confidence,
                smallest_cell=recipe.evaluate.smallest_cell,
            )
        )
    return attacks, float(sum(arrays["seconds"][0] for arrays in found.values()))


def distance_attacks(
    distilled: DistilledSet, corpus: Corpus, recipe: Recipe, place: torch.device
) -> list[MembershipAttack]:
    """The distance attack on the set, and on as many random training images, which it must find.

    One image is the mean of its set: every distance to it would be in units of itself, and nobody would be found.
    """
    if len(distilled.images) == 1:
        reason = "the set is one image, and there is no other distance to hold the distance to it against"
        return [MembershipAttack("distance", source, (), reason=reason) for source in ("distilled", "random")]
    train, others = _members(corpus)
    drawn = random_beside(distilled, corpus, recipe.seed, 0)
    grey = torch.from_numpy(distilled.normalisation.grey(distilled.images).astype(np.float32)).to(place).clamp(*RANGE)
    attacked: tuple[tuple[Source, torch.Tensor, np.ndarray, np.ndarray, np.ndarray], ...] = (
        ("distilled", grey, distilled.labels, distilled.weights, train),
        ("random", grey_of(corpus, drawn, place), corpus.labels[drawn], np.ones(len(drawn), np.float32), drawn),
    )
    attacks = []
    for source, images, labels, weights, members in attacked:
        rows = np.concatenate([members, others])
        scores = distance_scores(
            images.flatten(1),
            labels,
            weights,
            rows,
            corpus.labels[rows],
            lambda some: grey_of(corpus, some, place).flatten(1),
        )
        attacks.append(
            score_attack(
                "distance",
                scores,
                np.arange(len(rows)) < len(members),
                corpus.groups[rows],
                _cells(corpus, rows),
                source,
                level=recipe.evaluate.confidence,
                smallest_cell=recipe.evaluate.smallest_cell,
            )
        )
    return attacks


def _members(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training split, and of all images of the patients who are not in it."""
    train = corpus.rows("train")
    return train, np.flatnonzero(~np.isin(corpus.groups, corpus.groups[train]))


def _ratio_attacks(
    plan: ShadowPlan, corpus: Corpus, recipe: Recipe, confidence: np.ndarray, member: np.ndarray, source: Source
) -> list[MembershipAttack]:
    """Both likelihood ratio attacks, on the patients who have nothing to do with canaries."""
    rows = plan.rows[plan.ordinary]
    return [
        likelihood_ratio_attack(
            confidence[:, plan.ordinary],
            member[:, plan.ordinary],
            corpus.groups[rows],
            _cells(corpus, rows),
            source,
            way,
            np.random.default_rng(derive_seed(recipe.seed, "pairings", source, way)),
            level=recipe.evaluate.confidence,
            smallest_cell=recipe.evaluate.smallest_cell,
        )
        for way in RATIO_ATTACKS
    ]


def _cells(corpus: Corpus, rows: np.ndarray) -> dict[tuple[CellTrait, str], np.ndarray]:
    """Which of the rows are of each class, and of each site where there are two or more."""
    cells: dict[tuple[CellTrait, str], np.ndarray] = {
        ("class", name): np.flatnonzero(corpus.labels[rows] == c) for c, name in enumerate(corpus.class_names)
    }
    if len(np.unique(corpus.sites[rows])) > 1:
        cells |= {
            ("site", name): np.flatnonzero(corpus.sites[rows] == s)
            for s, name in enumerate(corpus.site_names)
            if name != NOT_STATED
        }
    return cells


def _decisive(recipe: Recipe) -> dict[str, object]:
    """The settings on which the answers of the attacked networks and of the shadows depend."""
    settings = recipe.model_dump(mode="json", exclude={"name", "description", "audit", "data"})
    for statistic in STATISTICS:
        settings["evaluate"].pop(statistic)
    shadow = recipe.audit.model_dump(
        mode="json", include={"shadow_networks", "shadow_experts", "shadow_iterations", "canaries"}
    )
    return {**settings, "audit": shadow}


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
