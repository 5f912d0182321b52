"""Outgoing: what of a run's records leaves the house. Each is built anew of what is named here; nothing is scrubbed.

Folder names of the sender, and so the names of sites, stay at home: sites become Site 1, Site 2 and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from medistill.artifacts.corpus import NOT_STATED
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import SharedProvenance
from medistill.errors import RecipeError
from medistill.evaluate.evaluation import Evaluation
from medistill.privacy.audit import Audit
from medistill.privacy.score_attack import of_site
from medistill.recipe import DataRecipe, validate_recipe
from medistill.report.record import Making, Report
from medistill.report.verdict import verdict
from medistill.report.worded import worded

SECTIONS = (
    "network", "augmentation", "prune", "method", "evaluate", "schedule", "audit", "compute", "privacy",
)  # fmt: skip
"""Sections of a recipe that hold numbers and choices alone."""
DATA = (
    "image_size", "channels", "fit", "voi", "low_percentile", "high_percentile", "view_policy", "burnt_in_text",
    "flagged_headers", "secondary_captures", "not_chest", "classes", "class_map", "several_findings", "val_fraction",
    "test_fraction", "equalise", "zca", "zca_regularisation",
)  # fmt: skip
"""What of the section ``data`` leaves: neither columns of the sender's table nor names of sites."""
NOT_HERE = "the run that this was shared from does not hold it, or it stayed there"
SET_HASHES = "set/"
"""How the names of those hashes begin that leave: on those of what stays at home, guesses of it could be tried."""
ONE_SITE = "all test images share one site, or the corpus does not say it"


def outgoing_recipe(stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """A recipe without the sender's own words; None where it is of a version with other settings."""
    try:
        plain = validate_recipe(stored, "the recipe inside the set").model_dump(mode="json")
    except RecipeError:
        return None
    data = {name: plain["data"][name] for name in DATA}
    return {"seed": plain["seed"], "data": data, **{name: plain[name] for name in SECTIONS}}


def outgoing_provenance(distilled: DistilledSet) -> SharedProvenance:
    """Return what of a set's provenance leaves; what has not the form that it should have is left out."""
    made = distilled.provenance
    recipe = outgoing_recipe(made.recipe) if made.recipe is not None else None
    kept: dict[str, Any] = {
        **{name: getattr(made, name) for name in SharedProvenance.model_fields},
        "recipe": recipe,
        # the digest of the whole recipe would let guesses of the sender's words be tried
        "recipe_digest": validate_recipe(recipe, "the recipe that leaves").digest if recipe else None,
        "corpus": None if made.states("differential_privacy") else made.corpus,
    }
    return SharedProvenance(**{name: value for name, value in kept.items() if _may_leave(name, value)})


def _may_leave(name: str, value: object) -> bool:
    """Whether a value of a provenance keeps within what a bundle may say under that name."""
    try:
        SharedProvenance.model_validate({name: value})
    except ValidationError:
        return False
    return True


def outgoing_audit(audit: Audit, sites: Mapping[str, str]) -> Audit:
    """An audit with the sites renamed, without the corpus' hash, which the provenance tells where it may be told, and
    without the command that made it."""
    criteria = tuple(replace(one, name=_without_site(one.name, sites)) for one in audit.criteria)
    membership = audit.membership
    if membership is not None:
        attacks = tuple(
            replace(
                attack,
                cells=tuple(
                    replace(cell, name=sites[cell.name]) if cell.trait == "site" else cell for cell in attack.cells
                ),
            )
            for attack in membership.attacks
        )
        membership = replace(membership, attacks=attacks)
    copies = tuple(
        replace(one, sites=tuple(replace(site, name=sites[site.name]) for site in one.sites)) for one in audit.copies
    )
    text = audit.text
    if text is not None:
        text = replace(text, overlays=tuple(replace(one, site=sites[one.site]) for one in text.overlays))
    return replace(
        audit,
        criteria=criteria,
        copies=copies,
        membership=membership,
        text=text,
        corpus="",
        command="",
        date="",
        recipe="",
    )


def _without_site(name: str, sites: Mapping[str, str]) -> str:
    """The name of a criterion, with the site that it is about renamed."""
    for own, outside in sites.items():
        if name.endswith(end := of_site(own)):
            return f"{name.removesuffix(end)}{of_site(outside)}"
    return name


def site_names(report: Report | None, audit: Audit | None) -> dict[str, str]:
    """Name of a site -> what it is called outside, in the order in which the run counts its sites."""
    found: dict[str, None] = {}
    if report is not None:
        if report.corpus is not None:
            found |= dict.fromkeys((*report.corpus.sites, *report.corpus.counts_by_site))
        held_out = (site.evaluation for site in report.sites if site.evaluation is not None)
        found |= dict.fromkeys(site.site for site in report.sites)
        for evaluation in (report.evaluation, *report.across, *held_out):
            found |= dict.fromkeys(group.name for group in evaluation.subgroups if group.trait == "site")
    if audit is not None:
        found |= dict.fromkeys(site.name for one in audit.copies for site in one.sites)
        overlays = audit.text.overlays if audit.text is not None else ()
        found |= dict.fromkeys(one.site for one in overlays)
        attacks = audit.membership.attacks if audit.membership is not None else ()
        found |= dict.fromkeys(cell.name for attack in attacks for cell in attack.cells if cell.trait == "site")
    found.pop(NOT_STATED, None)
    return {name: f"Site {k}" for k, name in enumerate(found, 1)} | {NOT_STATED: NOT_STATED}


def outgoing_report(report: Report, sites: Mapping[str, str], *, recipe_digest: str | None = None) -> Report:
    """A report without real images, commands, the recipe's name and the reading's notes; its words are written anew.

    Args:
        recipe_digest: SHA-256 of the recipe as it leaves; None where it does not.
    """
    evaluation = _outgoing_evaluation(report.evaluation, sites)
    audit = outgoing_audit(report.audit, sites) if report.audit is not None else None
    corpus = report.corpus
    if corpus is not None:
        counts = {sites[name]: of_site for name, of_site in corpus.counts_by_site.items()}
        corpus = replace(corpus, sites=tuple(sites[name] for name in corpus.sites), counts_by_site=counts, notes=())
    held_out = tuple(
        replace(
            site,
            site=sites[site.site],
            evaluation=_outgoing_evaluation(site.evaluation, sites) if site.evaluation is not None else None,
            reason=NOT_HERE if site.evaluation is None else "",
            note="",
        )
        for site in report.sites
    )
    making = report.making
    known = replace(
        report,
        shows_real=False,
        verdict=verdict(evaluation, declared_margin=making.section("evaluate").get("margin")),
        evaluation=evaluation,
        across=tuple(_outgoing_evaluation(other, sites) for other in report.across),
        sites=held_out,
        audit=audit,
        corpus=corpus,
        making=Making(
            seed=making.seed,
            recipe="",
            settings=_outgoing_settings(making.settings),
            versions=making.versions,
            device=making.device,
            hardware="",
            commands=(),
            stages=making.stages,
            hashes={name: digest for name, digest in making.hashes.items() if name.startswith(SET_HASHES)}
            | ({} if recipe_digest is None else {"recipe": recipe_digest}),
        ),
        missing=dict.fromkeys(report.missing, NOT_HERE),
    )
    return worded(known)


def _outgoing_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the sections of a recipe, with defaults in place of what stays at home."""
    data = settings.get("data", {})
    kept = {**DataRecipe().model_dump(mode="json"), **{name: data[name] for name in DATA if name in data}}
    others = {name: values for name, values in settings.items() if name.partition(".")[0] in SECTIONS}
    return {"data": kept, **others} if settings else {}


def _outgoing_evaluation(evaluation: Evaluation, sites: Mapping[str, str]) -> Evaluation:
    subgroups = tuple(
        replace(group, name=sites[group.name]) if group.trait == "site" else group for group in evaluation.subgroups
    )
    untold = {trait: ONE_SITE if trait == "site" else reason for trait, reason in evaluation.untold.items()}
    return replace(evaluation, subgroups=subgroups, untold=untold)
