"""Attacks on membership alone, without the rest of an audit; and what the gate says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.privacy import gate
from medistill.privacy.attack import Attack, Evidence
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.distance import Distance
from medistill.privacy.criterion import Criterion
from medistill.privacy.membership import Membership, MembershipAttack
from medistill.privacy.signals import NetworkAnswers, SetFacts, ShadowSignals
from medistill.progress import Progress, Silent
from medistill.recipe import AuditRecipe, Recipe
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.loop import applicable, run_attacks
from medistill.studies.audit.membership import membership_record
from medistill.studies.audit.signals import AuditSignals
from medistill.training.device import choose_device

FACTS = SetFacts("patient", "noise", None)
"""Of a set that began as noise."""


@dataclass(frozen=True)
class Answered:
    """Signals of made-up answers alone."""

    networks: tuple[NetworkAnswers, ...] = ()
    shadows: ShadowSignals = field(default_factory=ShadowSignals)
    level: float = 0.95
    smallest_cell: int = 10
    seed: int = 0

    def rng(self, *names: str | int) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def audit_context(
    distilled: DistilledSet, corpus: Corpus, recipe: Recipe, *, device: str = "cpu", built_in: bool = False
) -> AuditContext:
    """What attacks work with that keep nothing."""
    spec, nowhere = network_spec(corpus, recipe), Path("unused")
    return AuditContext(
        corpus, recipe, spec, choose_device(device), nowhere, Silent(), distilled, None, built_in=built_in
    )


def attack_membership(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: Path,
    network: NetworkFactory | None = None,
    device: str = "cpu",
    progress: Progress = Silent(),
) -> Membership:
    """What every attack finds that asks who was a member."""
    spec, folder = network_spec(corpus, recipe, network), out / "membership"
    context = AuditContext(
        corpus, recipe, spec, choose_device(device), folder, progress, distilled, network, built_in=False
    )
    signals = AuditSignals(context)
    attacks = [attack for attack in applicable(signals.facts) if attack.family == "membership"]
    return membership_record(run_attacks(attacks, signals), signals)


def distance_attacks(
    distilled: DistilledSet, corpus: Corpus, recipe: Recipe, device: str = "cpu"
) -> tuple[MembershipAttack, ...]:
    """What the attack by distance finds on the set, and on its control."""
    return Distance().run(AuditSignals(audit_context(distilled, corpus, recipe, device=device))).membership


def membership_hidden(found: Membership | None, settings: AuditRecipe) -> tuple[Criterion, ...]:
    """What the gate says of a record of these attacks; None is one of an audit that left them out."""
    attacks = [attack for attack in all_attacks() if attack.family == "membership"]
    evidence = {} if found is None else {attack.name: _of(attack, found) for attack in attacks}
    return gate.judge(attacks, evidence, FACTS, settings)


def _of(attack: Attack, found: Membership) -> Evidence:
    """The part of the record that is the attack's own."""
    scored = tuple(one for one in found.attacks if one.name == attack.name)
    return Evidence(membership=scored, canaries=found.canaries if attack.name == "canaries" else ())
