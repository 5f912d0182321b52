"""Membership: one record of what every attack found that asks who was in the training split, and with what budget."""

from __future__ import annotations

from collections.abc import Mapping

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.kept import keep_json
from medistill.privacy.attack import Evidence
from medistill.privacy.membership import Membership
from medistill.studies.audit.signals import AuditSignals
from medistill.workflow.shadows import shadow_recipe


def membership_record(evidence: Mapping[str, Evidence], signals: AuditSignals) -> Membership:
    """Put together what the attacks found, and keep it in ``membership.json`` beside the answers of the networks.

    The adversary holds the set and its recipe. Members are the patients of the training split; non-members those of the
    validation and test splits, of whom the former had a say in which images were kept. What needs shadows tells of the
    method under their smaller budget (``recipe.audit``) rather than of this set.

    Args:
        evidence: name -> what an attack found.
        signals: on which they were made.
    """
    context, found = signals.context, sum(evidence.values(), Evidence())
    recipe, budget = context.recipe, context.recipe.audit
    shadow = shadow_recipe(recipe, 0).method
    told = Membership(
        attacks=found.membership,
        canaries=found.canaries,
        one_run=found.one_run,
        soft_labels=found.soft_labels,
        networks=signals.networks_trained,
        shadows=signals.shadows_made,
        shadow_networks=budget.shadow_networks,
        shadow_experts=0 if shadow.followed is None else shadow.followed.count,
        shadow_iterations=shadow.outer_steps,
        confidence=recipe.evaluate.confidence,
        seconds=signals.seconds,
    )
    keep_json(private_folder(context.out) / "membership.json", told.as_json(), private=True)
    return told
