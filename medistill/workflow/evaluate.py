"""Evaluate: train fresh networks on each arm, test them on the real test split, compare."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus, Split
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.artifacts.provenance import Provenance
from medistill.errors import DataError, DivergedError
from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.predictions import OF_THE_SET, Arm, ArmPredictions, Truth, save_arm, save_truth
from medistill.evaluate.protocol import Answers, Arms, answers, held_out
from medistill.evaluate.schedule_choice import Candidate, ScheduleChoice
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Progress, Silent, Task, every_epoch_but_last
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.choose_schedules import choose_schedules
from medistill.workflow.corpus_record import keep_tested_corpus
from medistill.workflow.experts import network_spec
from medistill.workflow.originals import READ_UNMASKED, Originals, Tested, apart_from_originals, read_unmasked
from medistill.workflow.stored_networks import StoredNetworks, places_of
from medistill.workflow.tested import tested_whole, trainable

STATISTICS = ("bootstrap", "confidence", "margin", "specificity", "smallest_cell", "networks", "arms", "across")
"""Settings of the evaluation that decide nothing about a single network; the stored ones outlive a change of them."""
OTHER_CORPUS = (
    "The set was made from another corpus or another split of this one, or does not say from which, and whether test "
    "images were among its originals is not known here. Where they were, its figures are too good."
)


def evaluate(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    originals: Originals | None = None,
    network: NetworkFactory | None = None,
    schedules: Mapping[str, Candidate] = MappingProxyType({}),
    device: str = "auto",
    progress: Progress = Silent(),
) -> Evaluation:
    """Compare networks trained on the distilled set with networks trained on the controls that the recipe names.

    Each network's predictions are kept when it is trained, in its arm's place (see `places_of`); a run that was
    interrupted, or is asked for more networks or arms, trains only what is missing, and each network draws its random
    numbers from the seed, the arm and its own number.

    A corpus that is tested whole (see `as_tested`) has no originals to compare with: the set is then tested alone.

    Args:
        originals: what is known here of the images that the set was made from (see `known_originals`): on another
            corpus than its own it is not tested on these.
        network: a network of the user's own (see `train_experts`); None takes the recipe's.
        schedules: network in words -> how its maker trained it on the set (`receive` gives them), for a corpus that has
            no validation images to choose by.

    Raises:
        DataError: the set and the corpus have other classes or image shapes.
        RecipeError: the images are too small for the network.
        UsageError: ``out`` holds a finished evaluation of something else.
        DivergedError: a network left the finite numbers.
    """
    check_fit("set", distilled.class_names, distilled.images.shape[1:], corpus)
    apart = apart_from_originals(distilled.provenance.corpus, corpus, recipe, originals)
    corpus = apart.corpus
    _tell(apart, progress)
    asked, recipe = recipe, trainable(corpus, recipe, progress)
    folder, place = private_folder(Path(out) / "evaluation"), choose_device(device)
    spec = network_spec(corpus, recipe, network)
    parameters = sum(p.numel() for p in build_network(spec, generator(recipe.seed, "count")).parameters())
    arms = Arms(distilled, corpus, recipe, place)
    places = places_of(folder, arms, what_decides(corpus, recipe, spec, place))
    if shortage := arms.shortage():
        progress.say(shortage)
    choices: tuple[ScheduleChoice, ...] = ()
    if recipe.schedule.choose == "validation":
        choices = choose_schedules(arms, places, spec, progress=progress)
        arms = Arms(distilled, corpus, recipe, place, {choice.arm: choice.chosen for choice in choices})
    elif asked.schedule.choose == "validation" and (own := schedules.get(spec.words)) is not None:
        arms = Arms(distilled, corpus, recipe, place, dict.fromkeys(OF_THE_SET, own))
        places |= {arm: replace(places[arm], key=f"{places[arm].key} {own}") for arm in OF_THE_SET if arm in places}
    networks = StoredNetworks(places, recipe.evaluate.networks, progress.say)
    networks.refuse_another(folder, "distilled")
    _train_missing(networks, arms, corpus, recipe, spec, place, progress)
    predictions = [_together(arm, networks.of(arm), arms) for arm in arms.names]
    keep_tested_corpus(corpus, Path(out))
    return write_evaluation(
        folder,
        predictions,
        apart,
        recipe,
        made=distilled.provenance,
        set_digest=distilled.digest(),
        network=spec.words,
        parameters=parameters,
        schedules=choices,
        progress=progress,
    )


def _tell(apart: Tested, progress: Progress) -> None:
    """Say whether test images may have been among the originals, where that is not plain."""
    if apart.originals == "not known":
        progress.say(OTHER_CORPUS)
    elif apart.originals == "left out":
        progress.say(
            f"This is not the corpus, split as it was, that the set was made from. {apart.left_out} test and "
            "validation images that were among its originals, or are of a patient who was, are left out."
        )


def write_evaluation(
    folder: Path,
    predictions: Sequence[ArmPredictions],
    apart: Tested,
    recipe: Recipe,
    *,
    made: Provenance,
    set_digest: str = "",
    network: str,
    parameters: int,
    schedules: tuple[ScheduleChoice, ...] = (),
    progress: Progress,
) -> Evaluation:
    """Compare arms on the test split of a corpus; write what was true, what they said, and last ``evaluation.json``.

    Args:
        apart: the corpus, and whether its test images are apart from the set's originals.
        made: how the set was made that was tested, as it says.
        set_digest: of that set.
        network: the network that the arms trained, in words.
        parameters: how many numbers it learns.
        schedules: how the arms are trained, where that was chosen.
    """
    corpus = apart.corpus
    truths = (_truth(corpus, "val"), _truth(corpus, "test"))
    save_truth(folder, *truths)
    for of_arm in predictions:
        save_arm(folder, of_arm)
    progress.say("Comparing the arms.")
    compared = compare(
        predictions,
        *truths,
        corpus.class_names,
        recipe.evaluate,
        seed=recipe.seed,
        network=network,
        parameters=parameters,
        schedules=schedules,
    )
    unmasked = read_unmasked(made, corpus)
    if unmasked:
        progress.say(READ_UNMASKED)
    evaluation = replace(
        compared,
        originals=apart.originals,
        left_out=apart.left_out,
        set_digest=set_digest,
        unmasked=unmasked,
        tested="all images" if tested_whole(corpus) else "test split",
    )
    keep_json(folder / "evaluation.json", evaluation.as_json(), private=True)
    return evaluation


def _train_missing(
    networks: StoredNetworks,
    arms: Arms,
    corpus: Corpus,
    recipe: Recipe,
    spec: NetworkSpec,
    place: torch.device,
    progress: Progress,
) -> None:
    """Train what is missing, arm by arm. Progress counts the images shown to the networks, for time goes by them."""
    if networks.found and networks.missing:
        progress.say(f"Networks trained already: {len(networks.found)}; to be trained: {len(networks.missing)}.")
    shows = {arm: arms.epochs(arm) * arms.images(arm) for arm in arms.names}
    done = sum(shows[arm] for arm, _ in networks.found)
    shown = held_out(corpus, arms.distilled.normalisation, place) if networks.missing else ()
    with progress.task(f"Evaluating on {spec.name}", sum(shows.values()) * networks.count, done=done) as task:
        for arm in arms.names:
            started, numbers = time.perf_counter(), [number for of, number in networks.missing if of == arm]
            for number in numbers:
                told = _trained(arm, number, arms, shown, recipe, spec, place, task)
                networks.add(arm, number, told)
                task.advance(arms.images(arm), figures=_figures(arm, number, recipe))
            if numbers:
                took = time.perf_counter() - started
                progress.say(f"Arm {arm} on {spec.name}: {took:.0f} s for {len(numbers)} of {networks.count} networks.")


def _trained(
    arm: Arm,
    number: int,
    arms: Arms,
    shown: Sequence[LabelledImages],
    recipe: Recipe,
    spec: NetworkSpec,
    place: torch.device,
    task: Task,
) -> Answers:
    """Train one network and ask it; every epoch but the last advances the task."""
    figures = _figures(arm, number, recipe)
    task.advance(0, figures=figures)
    training = arms.training_set(arm, number)
    tick = every_epoch_but_last(task, training.schedule.epochs, arms.images(arm), figures)
    try:
        return answers(training, shown, spec, recipe, generator(recipe.seed, "evaluate", arm, number), place, tick)
    except DivergedError as error:
        raise DivergedError(f"{figures}: {error.seen}", expected=error.expected, do=error.do) from None


def _figures(arm: Arm, number: int, recipe: Recipe) -> str:
    return f"{arm}, network {number + 1} of {recipe.evaluate.networks}"


def check_fit(what: str, class_names: Sequence[str], shape: Sequence[int], corpus: Corpus) -> None:
    """Refuse a corpus of other classes, or of images of another shape (C, H, W), than a set or a classifier has.

    Raises:
        DataError: with what both have.
    """
    if tuple(class_names) != corpus.class_names:
        raise DataError(
            f"the {what} has the classes {', '.join(class_names)}; the corpus has {', '.join(corpus.class_names)}",
            expected="the same classes in the same order; some of them may have no image",
            do=f"read the corpus with the classes of the {what} (data.classes)",
        )
    if tuple(shape) != corpus.images.shape[1:]:
        raise DataError(
            f"the {what}'s images are {tuple(shape)}, the corpus' {corpus.images.shape[1:]} (C, H, W)",
            expected="the same shape",
            do=f"prepare the corpus with the recipe that the {what} was made with",
        )


def what_decides(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, place: torch.device) -> bytes:
    """What decides the answers of a network that is trained, beside the images that it is trained on."""
    decisive = recipe.model_dump(mode="json", include={"seed", "augmentation", "compute", "evaluate", "schedule"})
    decisive["network"] = spec.identity()
    for setting in STATISTICS:
        decisive["evaluate"].pop(setting)
    return json.dumps([decisive, corpus.content, place.type], sort_keys=True).encode()


def _truth(corpus: Corpus, split: Split) -> Truth:
    rows = corpus.rows(split)
    return Truth(corpus.labels[rows], corpus.groups[rows], corpus.traits(split))


def _together(arm: Arm, told: Sequence[Answers], arms: Arms) -> ArmPredictions:
    return ArmPredictions(
        arm=arm,
        validation=np.stack([one.probabilities[0] for one in told]),
        test=np.stack([one.probabilities[1] for one in told]),
        images=arms.images(arm),
        bytes=arms.bytes(arm),
        epochs=arms.epochs(arm),
        seconds=sum(one.seconds for one in told),
    )
