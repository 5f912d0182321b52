"""Audit: what a distilled set gives away of the training images, and whether it passes the gate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.privacy import gate
from medistill.privacy.accounting import Guarantee
from medistill.privacy.attack import Attack, Evidence
from medistill.privacy.audit import Audit, load_audit
from medistill.privacy.criterion import Criterion
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe, audit_deviations
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.former import is_of_run, refuse_what_lies_there
from medistill.studies.audit.loop import applicable, run_attacks
from medistill.studies.audit.membership import membership_record
from medistill.studies.audit.pages import write_pages
from medistill.studies.audit.signals import AuditSignals
from medistill.studies.audit.together import make_together
from medistill.training.device import choose_device
from medistill.workflow.audit_outlook import say_obstacles
from medistill.workflow.audit_seal import seal_audit
from medistill.workflow.compatibility import MadeOf, refuse_misfit
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.encoder_here import require_encoder, require_teacher
from medistill.workflow.environment import versions
from medistill.workflow.report import renew_report
from medistill.workflow.retrace import making_flaw

NOT_ONCE_MORE = (
    "The set is not made once more, since a quick audit leaves out what is made for attacks: "
    "audit.one_run_canaries, {canaries}, does nothing here."
)


def audit(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    run: str | Path | None = None,
    quick: bool = False,
    show_real: bool = False,
    built_in: bool = False,
    network: NetworkFactory | None = None,
    device: str = "auto",
    command: str = "",
    ranks: Ranks = ALONE,
    progress: Progress = Silent(),
) -> Audit:
    """Make every attack of `medistill.privacy.attacks` on the set and on its controls; write ``out/audit.json``.

    ``out/audit.html`` is the same on a sheet of paper. Where ``out`` is the folder ``audit`` of the run, and the run
    has a report, this is written again, with the audit in it.

    The search for copies runs on as many random training images too, in which it must find copies, and on held-out
    images of other patients, in which it should find none; other attacks have controls of their own. What networks say
    in attacks on membership is kept in ``out/membership`` (mode 0700): a call that was interrupted trains only what is
    missing when it is repeated.

    Args:
        recipe: of the set; its section ``audit`` holds the thresholds.
        run: folder of the run that made the set. Its record of the making ties the audit to the set; without it, or
            where the two do not agree, only the method is audited, and no set passes.
        quick: leave out the attacks on membership for which networks or shadows are trained; then no set passes.
        show_real: write the closest pairs to ``out/pairs.html`` too, which then must not be shared.
        built_in: the corpus is the one that medistill draws (`built_in_corpus`), into which nobody wrote text.
        network: the user's own, where the set was made with it (see `train_experts`).
        command: what made it, for the record.
        ranks: processes that share networks and shadows, each one at a time; the first does the rest.

    Raises:
        DataError: the set was made from another corpus, or has other classes or shapes.
        UsageError: it was made with another network, or its encoder or teacher is not on this machine; or ``out``
            holds an audit that this one cannot stand for.
        DivergedError: a network, an expert or a distillation of the attacks left the finite numbers.
    """
    require_encoder(distilled.provenance, recipe)
    require_teacher(distilled.provenance)
    made_in = None if run is None else Path(run)
    refuse_what_lies_there(Path(out), distilled, run=made_in, quick=quick)
    started, folder = time.perf_counter(), private_folder(Path(out))
    recipe = with_encoder(recipe, network)
    spec, kept_in = network_spec(corpus, recipe, network), folder / "membership"
    refuse_misfit(MadeOf.of_set(distilled), corpus, "audit", spec=spec)
    place = choose_device(device)
    signals = AuditSignals(
        AuditContext(corpus, recipe, spec, place, kept_in, progress, distilled, network, built_in=built_in)
    )
    seen = ranks.first(lambda: signals.seen)
    if ranks.leads:
        opening = "This audit will not be able to pass the set."
        say_obstacles(seen, signals.held_out, recipe, progress, opening, quick=quick)
        if quick and recipe.audit.one_run_canaries:
            progress.say(NOT_ONCE_MORE.format(canaries=recipe.audit.one_run_canaries))
    attacks = applicable(signals.facts)
    tried = [one for one in attacks if not (quick and _takes_long(one))]
    if ranks.size > 1:
        make_together(tried, signals, ranks)

    def conclude() -> Audit:
        evidence = run_attacks(tried, signals)
        making = _making(signals.context, made_in, folder)
        criteria = _criteria(signals, attacks, evidence, making)
        result = _record(signals, attacks, evidence, criteria, command, started)
        keep_json(folder / "audit.json", result.as_json(), private=True)
        seal_audit(distilled, folder)
        write_pages(folder, result, signals, show_real=show_real)
        if made_in is not None and is_of_run(folder, made_in):
            renew_report(made_in, progress)
        return result

    return ranks.first(conclude, lambda: load_audit(folder / "audit.json"))


def _takes_long(attack: Attack) -> bool:
    """Whether networks are trained for it, and for its controls, to tell who was among the patients."""
    return attack.family == "membership" and attack.needs != "set"


def _making(context: AuditContext, run: Path | None, folder: Path) -> tuple[str, str]:
    """Why the making of the set is not known here, and what was made again to see that it is."""
    return making_flaw(context.distilled, replace(context, out=folder), run)


def _criteria(
    signals: AuditSignals, attacks: Sequence[Attack], evidence: Mapping[str, Evidence], making: tuple[str, str]
) -> tuple[Criterion, ...]:
    """What the gate asks of the audit itself, then of what every attack found.

    Args:
        signals: on which the attacks were made.
        attacks: those that apply to the set.
        evidence: name -> what an attack found.
        making: why the making of the set is not known, and what was made again to see that it is.
    """
    context, recipe, held_out = signals.context, signals.context.recipe, signals.held_out
    return (
        gate.making_known(len(context.distilled.labels), *making),
        gate.as_shipped(audit_deviations(recipe.strictness)),
        gate.enough_held_out(
            len(held_out.rows), held_out.patients, context.corpus.split_unit, recipe.audit, left_out=held_out.left_out
        ),
        *gate.judge(attacks, evidence, signals.facts, recipe.audit),
    )


def _record(
    signals: AuditSignals,
    attacks: Sequence[Attack],
    evidence: Mapping[str, Evidence],
    criteria: tuple[Criterion, ...],
    command: str,
    started: float,
) -> Audit:
    """What was tried, what came out, and what with.

    Args:
        signals: on which the attacks were made.
        attacks: those that apply to the set.
        evidence: name -> what an attack found.
        criteria: what the gate asked.
        command: what made it.
        started: when, by `time.perf_counter`.
    """
    context, found = signals.context, sum(evidence.values(), Evidence())
    distilled, corpus, recipe = context.distilled, context.corpus, context.recipe
    of_people = {one.name: evidence[one.name] for one in attacks if one.family == "membership" and one.name in evidence}
    return Audit(
        verdict=gate.decide(criteria),
        criteria=criteria,
        rules=found.rules,
        copies=found.copies,
        residue=found.leakage,
        residue_reason=signals.initialisation.reason,
        membership=membership_record(of_people, signals) if of_people else None,
        guarantee=_guarantee(distilled),
        not_tested=gate.not_tested(attacks, evidence),
        train_images=len(corpus.rows("train")),
        held_out_images=len(signals.held_out.rows),
        held_out_patients=signals.held_out.patients,
        split_unit=corpus.split_unit,
        network=context.spec.words,
        set_digest=distilled.digest(),
        corpus=corpus.content,
        thresholds=recipe.strictness,
        seed=recipe.seed,
        versions=versions(),
        device=context.device.type,
        command=command,
        seconds=round(time.perf_counter() - started, 2),
        text=found.text,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        recipe=recipe.name,
        method=distilled.provenance.method or "",
        images=len(distilled.labels),
        held_out_left_out=signals.held_out.left_out,
    )


def _guarantee(distilled: DistilledSet) -> str:
    """The differential privacy that the set states, in a sentence, or that it states none."""
    promised = Guarantee.of_set(distilled.provenance)
    if promised is not None:
        return promised.sentence
    return "The set was made without differential privacy: nothing is guaranteed formally."
