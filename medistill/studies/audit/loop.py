"""Loop: every attack that applies to a set, in turn, on the same signals."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from medistill.privacy.attack import Attack, Evidence
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.signals import SetFacts
from medistill.studies.audit.signals import AuditSignals

SEARCHING = "Looking for copies"
"""What is told while images are compared; other families tell of what is made for them."""


def applicable(facts: SetFacts) -> tuple[Attack, ...]:
    """The attacks that can be made on such a set."""
    return tuple(attack for attack in all_attacks() if attack.applies(facts))


def run_attacks(attacks: Iterable[Attack], signals: AuditSignals) -> dict[str, Evidence]:
    """Name -> what the attack found."""
    found: dict[str, Evidence] = {}
    for family, members in groupby(attacks, lambda attack: attack.family):
        if family != "copies":
            found |= {attack.name: attack.run(signals) for attack in members}
            continue
        searches = list(members)
        with signals.context.progress.task(SEARCHING, len(searches)) as task:
            for search in searches:
                found[search.name] = search.run(signals)
                task.advance(1, figures=search.display_name)
    return found
