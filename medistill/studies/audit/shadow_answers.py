"""Shadow answers: what shadow distillations, made of half of the patients each, say of everybody and of canaries."""

from __future__ import annotations

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.errors import DataError
from medistill.privacy.membership import SOURCES, Source
from medistill.privacy.signals import CanaryAnswers, LabelAnswers, NetworkAnswers, ShadowSignals, cells_of
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.network_answers import digest_of, what_decides
from medistill.workflow.shadows import ShadowAnswers, ShadowPlan, ask_shadows, no_shadows, plan_shadows


def shadow_signals(context: AuditContext) -> ShadowSignals:
    """Make the shadows that are not there yet, and ask them; or say why there can be none."""
    plan = plan_shadows(context.corpus, context.recipe)
    if reason := no_shadows(plan, context.corpus, context.recipe):
        return ShadowSignals(reason=reason)
    try:
        told = ask(plan, context)
    except DataError as error:  # half of the patients can be too few to quantise, where all of them are enough
        return ShadowSignals(reason=f"a set of half of the patients is impossible ({error.seen})")
    context.progress.say("Working out the likelihood ratios.")
    return ShadowSignals(
        _of_ordinary(plan, told, context), _of_canaries(plan, told), _of_labels(plan, told), seconds=told.seconds
    )


def ask(plan: ShadowPlan, context: AuditContext) -> ShadowAnswers:
    """Ask the shadows of a plan, after making those that are not there yet (see `ask_shadows`)."""
    private_folder(context.out)
    of_labels = ("soft labels",) if context.distilled.by_class else ()  # shadows of before were not asked
    return ask_shadows(plan, context, key=digest_of(*what_decides(context), *of_labels), network=context.network)


def _of_ordinary(plan: ShadowPlan, told: ShadowAnswers, context: AuditContext) -> tuple[NetworkAnswers, ...]:
    """Of the patients who have nothing to do with canaries."""
    rows, ordinary = plan.rows[plan.ordinary], plan.ordinary
    groups, cells = context.corpus.groups[rows], cells_of(context.corpus, rows)
    return tuple(
        NetworkAnswers(source, told.confidence[source][:, ordinary], told.member[source][:, ordinary], groups, cells)
        for source in SOURCES
    )


def _of_canaries(plan: ShadowPlan, told: ShadowAnswers) -> tuple[CanaryAnswers, ...]:
    """Whether each shadow gives each canary its wrong label; empty where there is no canary."""
    if not len(plan.canaries):
        return ()
    return tuple(
        CanaryAnswers(source, told.confidence[source][:, plan.canaries] > 0, told.member[source][:, plan.canaries])
        for source in SOURCES
    )


def _of_labels(plan: ShadowPlan, told: ShadowAnswers) -> tuple[LabelAnswers, ...]:
    """What the shadows' soft labels say of each canary, beside what networks on their originals do; empty where there
    is no canary, or no soft label."""
    if told.labels is None:
        return ()
    said: dict[Source, np.ndarray] = {"distilled": told.labels, "raw": told.confidence["raw"][:, plan.canaries]}
    return tuple(LabelAnswers(source, scores, told.member[source][:, plan.canaries]) for source, scores in said.items())
