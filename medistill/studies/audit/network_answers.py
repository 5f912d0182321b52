"""Network answers: networks are trained on the set and on its controls, and asked of members and of others."""

from __future__ import annotations

import hashlib
import json
import time

import numpy as np

from medistill.artifacts.kept import keep_tensors
from medistill.evaluate.protocol import Arms, answers, random_beside
from medistill.privacy.confidence import true_class_confidence
from medistill.privacy.membership import SOURCES, Source
from medistill.privacy.signals import NetworkAnswers, Population, cells_of
from medistill.progress import every_epoch_but_last
from medistill.recipe import Recipe
from medistill.studies.audit.context import AuditContext
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.evaluate import STATISTICS
from medistill.workflow.shadows import kept


def network_answers(context: AuditContext, people: Population) -> tuple[tuple[NetworkAnswers, ...], float]:
    """What the networks of every source say, and the seconds that these took to train, of all calls together.

    Random originals are the same for every network, so that it is known who was a member. What a network says is kept
    in the folder of the context; one that is there is not trained again.
    """
    corpus, rows = context.corpus, np.concatenate([people.members, people.others])
    subset = random_beside(context.distilled, corpus, context.recipe.seed, 0)
    found = _asked(context, rows)
    told = []
    for source in SOURCES:
        member = np.isin(rows, subset if source == "random" else people.members)
        taken = np.flatnonzero(member | np.isin(rows, people.others))
        confidence = np.stack([found[source, number]["confidence"] for number in range(context.recipe.audit.networks)])
        groups, cells = corpus.groups[rows[taken]], cells_of(corpus, rows[taken])
        told.append(NetworkAnswers(source, confidence[:, taken], member[taken], groups, cells))
    return tuple(told), float(sum(arrays["seconds"][0] for arrays in found.values()))


def _asked(context: AuditContext, rows: np.ndarray) -> dict[tuple[Source, int], dict[str, np.ndarray]]:
    """Source and number of a network -> its confidence about every row, and the seconds that it took."""
    recipe, progress, count = context.recipe, context.progress, context.recipe.audit.networks
    arms = Arms(context.distilled, context.corpus, recipe, context.device)
    key = digest_of(hashlib.sha256(context.distilled.training_bytes()).hexdigest(), *whole_key(context))
    wanted = [(source, number) for source in SOURCES for number in range(count)]
    folder = context.folder()
    paths = {which: folder / f"{which[0]}_{which[1]:03d}.safetensors" for which in wanted}
    found = {which: arrays for which in wanted if (arrays := kept(paths[which], key, progress.say)) is not None}
    shows = {source: arms.epochs(source) * arms.images(source) for source in SOURCES}
    shown = LabelledImages.of_corpus(context.corpus, rows, context.distilled.normalisation, context.device)
    total, done = count * sum(shows.values()), sum(shows[source] for source, _ in found)
    with progress.task("Attacking by the loss", total, done=done) as task:
        for source, number in (which for which in wanted if which not in found):
            figures = f"{source}, network {number + 1} of {count}"
            training, started = arms.training_set(source, 0 if source == "random" else number), time.monotonic()
            rng = generator(recipe.seed, "attacked", source, number)
            tick = every_epoch_but_last(task, training.schedule.epochs, arms.images(source), figures)
            told = answers(training, [shown], context.spec, recipe, rng, context.device, tick)
            confidence = true_class_confidence(told.probabilities[0], context.corpus.labels[rows]).astype(np.float32)
            arrays = {"confidence": confidence, "seconds": np.array([time.monotonic() - started])}
            keep_tensors(paths[source, number], arrays, {"key": key})
            found[source, number] = arrays
            task.advance(arms.images(source), figures=figures)
    return found


def whole_key(context: AuditContext) -> tuple[object, ...]:
    """All on which the answers of attacked networks and of shadows depend, but for the set itself."""
    return (context.corpus.content, context.spec.identity(), _decisive(context.recipe), context.device.type)


def _decisive(recipe: Recipe) -> dict[str, object]:
    """The settings on which the answers of the attacked networks and of the shadows depend."""
    settings = recipe.model_dump(mode="json", exclude={"name", "description", "audit", "data"})
    for statistic in STATISTICS:
        settings["evaluate"].pop(statistic)
    shadow = recipe.audit.model_dump(
        mode="json", include={"shadow_networks", "shadow_experts", "shadow_iterations", "canaries"}
    )
    return {**settings, "audit": shadow}


def digest_of(*parts: object) -> str:
    """SHA-256 of parts that JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
