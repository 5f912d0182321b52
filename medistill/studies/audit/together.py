"""Together: what several ranks make for an audit, so that the one that goes on finds it kept."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from medistill.errors import DataError
from medistill.privacy.attack import Attack
from medistill.ranks.ranks import Ranks
from medistill.studies.audit.network_answers import network_answers
from medistill.studies.audit.shadow_answers import ask
from medistill.studies.audit.signals import AuditSignals
from medistill.workflow.shadows import no_shadows, plan_shadows


def make_together(attacks: Iterable[Attack], signals: AuditSignals, ranks: Ranks) -> None:
    """Train the networks and make the shadows that attacks ask for, each by one rank.

    Args:
        attacks: that are about to be made.
        signals: of the audit, in which nothing is shared: they find what this keeps.
        ranks: all of them, each of which calls this.

    Raises:
        DivergedError: as for `medistill.studies.audit.audit.audit`.
    """
    needs, context = {attack.needs for attack in attacks}, replace(signals.context, ranks=ranks)
    if "networks" in needs:
        network_answers(context, signals.population)
    plan = plan_shadows(signals.seen, context.recipe)
    if "shadows" in needs and not no_shadows(plan, signals.seen, context.recipe):
        with suppress(DataError):  # the audit comes to it again, and says that there can be none
            ask(plan, replace(context, corpus=signals.seen))
