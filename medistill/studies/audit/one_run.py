"""One run signals: the set is made once more, and attacks say of those whose coin was tossed who seems to be in it.

What they say must hang on the coins through what was made alone. So all of these people are asked about alike, in or
not, by attacks whose own random numbers and reference images are the same whatever the coins are; and what is taken off
as a yardstick is what the same attack says of the set itself, which was made before any coin.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError
from medistill.evaluate.protocol import random_beside
from medistill.privacy.accounting import Guarantee
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.membership import SOURCES, Source
from medistill.privacy.score_attack import ScoreAttack, Scores
from medistill.privacy.signals import CoinScores, OneRunSignals, Population
from medistill.progress import StepsInside
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.network_answers import digest_of, what_decides
from medistill.training.ensemble import Outputs, OutputsFile
from medistill.training.images import LabelledImages
from medistill.workflow.one_run import OneRunPlan, make_once_more, no_one_run, one_run_recipe, plan_one_run

if TYPE_CHECKING:
    from medistill.studies.audit.signals import AuditSignals

SAID = "what the set that was made once more gave away"
"""How messages call what is kept of it."""
NO_PROMISE = "the set states no differential privacy"


def one_run_signals(signals: AuditSignals) -> OneRunSignals | None:
    """Make the set once more if that is not done yet, and let every attack score those whose coins were tossed.

    Only their scores are kept, privately; the set itself is removed, since it is of the same people and no release.

    Args:
        signals: of the audit.

    Returns:
        None where `audit.one_run_canaries` is 0.
    """
    context = replace(signals.context, corpus=signals.seen)
    if not context.recipe.audit.one_run_canaries:
        return None
    plan = plan_one_run(context.corpus, context.recipe)
    promised = Guarantee.of_set(context.distilled.provenance)
    delta, stated, why = context.recipe.privacy.delta, None, NO_PROMISE
    if promised is not None:
        delta, why = promised.delta, f"what the set states is of one {promised.unit}, and coins are of patients"
        if promised.unit == context.corpus.split_unit:
            stated, why = promised.epsilon, ""
    nothing = OneRunSignals(plan.inside, (), delta, stated, why)
    if reason := no_one_run(plan, context.corpus, context.recipe):
        return replace(nothing, reason=reason)
    key = _key(context, [attack.name for attack in _by_one_run(signals)])
    store = OutputsFile(private_folder(context.out) / "one_run.safetensors", key, SAID)
    kept = store.load(context.progress.say)
    if kept is None:
        try:
            kept = _made_and_asked(plan, signals, context, key)
        except DataError as error:  # a class can have too few patients once some are left out
            return replace(nothing, reason=f"without those whom coins leave out it is impossible ({error.seen})")
        store.save(kept)
    return replace(nothing, scores=_scores(kept), seconds=kept.seconds)


def _key(context: AuditContext, attacks: list[str]) -> str:
    """Of all that decides the scores, and of the names of the attacks, since one that is new has none yet."""
    settings = context.recipe.audit
    return digest_of(
        context.distilled.digest(),
        *what_decides(context),
        settings.one_run_canaries,
        settings.networks,
        attacks,
        "one run",
    )


def _made_and_asked(plan: OneRunPlan, signals: AuditSignals, context: AuditContext, key: str) -> Outputs:
    """Make the set, ask every attack about the people of the plan, and remove the set."""
    started, folder = time.monotonic(), _run_folder(context.out, key)
    with context.progress.task("Making the set once more", 1) as task:
        inside = replace(
            context,
            corpus=plan.corpus(context.corpus),
            recipe=one_run_recipe(context.recipe),
            out=folder / "run",
            progress=StepsInside(task, "once more"),
        )
        private_folder(inside.out)
        made = replace(inside, distilled=make_once_more(inside, context.network), out=folder / "answers")
        arrays = _asked(plan, signals, made)
        task.advance(1)
    shutil.rmtree(folder)
    return Outputs(arrays, time.monotonic() - started)


def _run_folder(out: Path, key: str) -> Path:
    """Where the set is made; what an interrupted call with other settings left there is removed."""
    folder = out / f"one_run-{key[:12]}"
    for other in out.glob("one_run-*"):
        if other != folder:
            shutil.rmtree(other)
    return private_folder(folder)


def _asked(plan: OneRunPlan, signals: AuditSignals, made: AuditContext) -> dict[str, np.ndarray]:
    """What attacks say of the people of the plan, by source, attack and whether the set itself is taken off.

    Args:
        plan: whose coins were tossed.
        signals: of the audit, which know what networks say that learnt from the set itself.
        made: with the set that was made once more, and what it was made of.
    """
    held, whole = plan.held(made.corpus), replace(signals.context, corpus=signals.seen, recipe=made.recipe)
    split = Population(made.corpus, plan.rows[held], plan.rows[~held])
    once_more = signals.on(made, split)
    before = signals.on(replace(whole, progress=made.progress), Population(whole.corpus, plan.rows, plan.rows[:0]))
    control = signals.on(replace(made, distilled=_random_originals(made)), split)
    arrays: dict[str, np.ndarray] = {}
    for attack in _by_one_run(once_more):
        of_networks = attack.needs == "networks"
        yardstick = {one.source: one for one in attack.scores(signals if of_networks else before)}
        for one in attack.scores(once_more):
            if one.source == "distilled" or (of_networks and one.source == "raw"):
                arrays |= _both(plan, attack, one, yardstick[one.source])
    for attack in _by_one_run(control):
        if attack.needs == "set":
            (told,) = (one for one in attack.scores(control) if one.source == "distilled")
            arrays |= _both(plan, attack, replace(told, source="random"), None)
    return arrays


def _by_one_run(signals: AuditSignals) -> tuple[ScoreAttack, ...]:
    """The attacks whose scores tell who is in a set that is made once."""
    of_people = (attack for attack in all_attacks() if isinstance(attack, ScoreAttack))
    return tuple(attack for attack in of_people if attack.scores_one_run(signals.facts))


def _both(plan: OneRunPlan, attack: ScoreAttack, told: Scores, before: Scores | None) -> dict[str, np.ndarray]:
    """Scores of people, and these less what was said of the set itself, where both are there."""
    values = _by_patient(plan, told)
    if values is None:
        return {}
    arrays = {f"{told.source}/{attack.name}/alone": values}
    if before is not None and (yardstick := _by_patient(plan, before)) is not None:
        arrays[f"{told.source}/{attack.name}/beside"] = values - yardstick
    return arrays


def _by_patient(plan: OneRunPlan, told: Scores) -> np.ndarray | None:
    """The mean (m,) over a person's images, NaN where none has a score; None where there is none at all."""
    if told.trials is None:
        return None
    scores, groups = told.trials.scores[0], told.trials.groups
    taken = np.isfinite(scores) & np.isin(groups, plan.patients)
    whose, count = np.searchsorted(plan.patients, groups[taken]), len(plan.patients)
    images = np.bincount(whose, minlength=count)
    sums = np.bincount(whose, weights=scores[taken], minlength=count)
    return None if not images.any() else np.where(images > 0, sums / np.maximum(images, 1), np.nan)


def _random_originals(made: AuditContext) -> DistilledSet:
    """As many originals of each class as the set has images, of those who are in, in place of a set."""
    distilled, corpus = made.distilled, made.corpus
    rows = random_beside(distilled, corpus, made.recipe.seed, 0)
    shown = LabelledImages.of_corpus(corpus, rows, distilled.normalisation, made.device)
    return replace(
        distilled,
        images=shown.batch(slice(None)).cpu().numpy(),
        labels=corpus.labels[rows],
        weights=np.ones(len(rows), np.float32),
        stage=np.zeros(len(rows), np.int64),
        soft_labels=None,
        label_kind="probabilities",
        statistics=None,
        provenance=distilled.provenance.replaced(statistics=None),
        tiles=1,
    )


def _scores(kept: Outputs) -> tuple[CoinScores, ...]:
    """What was kept, source by source."""
    found = []
    for name, values in sorted(kept.arrays.items()):
        of, attack, how = name.split("/")
        source: Source = next(one for one in SOURCES if one == of)
        found.append(CoinScores(attack, source, how == "beside", values.astype(np.float64)))
    return tuple(found)
