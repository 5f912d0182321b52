"""Network answers: networks are trained on the set and on its controls, and asked of members and of others."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.evaluate.arms import Arms
from medistill.evaluate.network_keys import STATISTICS
from medistill.evaluate.protocol import random_beside
from medistill.privacy.membership import SOURCES
from medistill.privacy.signals import NetworkAnswers, Population, cells_of
from medistill.recipe import Recipe
from medistill.studies.audit.context import AuditContext
from medistill.training.encoded import encode_corpus
from medistill.training.ensemble import JobRunner, OutputsFile
from medistill.training.images import LabelledImages
from medistill.workflow.attacked_networks import SAID, attack_jobs, confidences


def network_answers(context: AuditContext, people: Population) -> tuple[tuple[NetworkAnswers, ...], float]:
    """Return what the networks of every source say, and the seconds that these took to train, of all calls together.

    What a network says is kept in ``context.out``, for these people; one that is there is not trained again.
    """
    distilled, corpus = context.distilled, context.corpus
    rows = np.concatenate([people.members, people.others])
    asked = hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()
    key = digest_of(hashlib.sha256(distilled.training_bytes()).hexdigest(), asked, *what_decides(context))
    folder = private_folder(context.out)
    context.ranks.first(lambda: encode_corpus(context))
    jobs = attack_jobs(
        Arms(distilled, corpus, context.recipe, context.device, encoder=context.spec.encoder),
        context.recipe.audit.networks,
        LabelledImages.of_corpus(corpus, rows, distilled.normalisation, context.device),
        corpus.labels[rows],
        context,
        lambda source, number: OutputsFile(folder / f"{source}_{number:03d}.safetensors", key, SAID),
    )
    runner = JobRunner(jobs, context.progress.say)
    runner.run(context, "Attacking by the loss")
    subset = random_beside(distilled, corpus, context.recipe.seed, 0)
    told = []
    for source in SOURCES:
        member = np.isin(rows, subset if source == "random" else people.members)
        taken = np.flatnonzero(member | np.isin(rows, people.others))
        confidence = np.stack(confidences(runner.of(source))).astype(np.float32)
        groups, cells = corpus.groups[rows[taken]], cells_of(corpus, rows[taken])
        told.append(NetworkAnswers(source, confidence[:, taken], member[taken], groups, cells))
    return tuple(told), sum(outputs.seconds for outputs in runner.done.values())


def what_decides(context: AuditContext) -> tuple[object, ...]:
    """Return all on which the answers of attacked networks and of shadows depend, but for the set itself."""
    return (context.corpus.content, context.spec.identity(), _decisive(context.recipe), context.device.type)


def _decisive(recipe: Recipe) -> dict[str, object]:
    settings = recipe.model_dump(mode="json", exclude={"name", "description", "audit", "data"})
    for statistic in STATISTICS:
        settings["evaluate"].pop(statistic)
    shadow = recipe.audit.model_dump(
        mode="json", include={"shadow_networks", "shadow_experts", "shadow_iterations", "canaries"}
    )
    return {**settings, "audit": shadow}


def digest_of(*parts: object) -> str:
    """Return the SHA-256 of parts that JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
