"""What leaves of the records of a run, searched for words that a sender put into every place that takes words."""

from __future__ import annotations

import json
import typing
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from medistill.artifacts.distilled_set import DistilledSet
from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import Evidence
from medistill.privacy.attacks.loss import Loss
from medistill.privacy.membership import AttackCell, Detection
from medistill.recipe import AuditRecipe, Recipe, load_recipe, validate_recipe
from medistill.recipe.load import sections_of
from medistill.recipe.method import settings_kind
from medistill.report.record import HeldOutSite, Report
from medistill.report.report_page import render_html
from medistill.sharing.outgoing import (
    outgoing_audit,
    outgoing_provenance,
    outgoing_recipe,
    outgoing_report,
    site_names,
)
from tests.factories import report_example
from tests.factories.attacked import FACTS
from tests.factories.sent_bundle import small_set

SECRET = "Quarksmann"


def with_words_everywhere(model: type[BaseModel], plain: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a recipe with the secret in every field that takes any text."""
    for name, field in model.model_fields.items():
        kind = settings_kind(plain[name]["name"]) if name == "method" else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            plain[name] = with_words_everywhere(kind, plain[name])
        elif kind is str and not any(getattr(part, "pattern", None) for part in field.metadata):  # no room for words
            plain[name] = f"{SECRET} {name}"
        elif typing.get_origin(kind) is tuple and _of_text(kind) and name != "classes":
            plain[name] = [f"{SECRET} {name}"]
    return plain


def _of_text(kind: Any) -> bool:
    """Whether a tuple holds texts, with or without a bound of their length."""
    held = typing.get_args(kind)[0]
    return held is str or typing.get_args(held)[:1] == (str,)


def secretive() -> Recipe:
    plain = with_words_everywhere(Recipe, load_recipe("demo").model_dump(mode="json"))
    return validate_recipe(plain, "a test")


def test_a_recipe_leaves_without_the_senders_words_and_with_every_setting() -> None:
    recipe = secretive()
    told = json.dumps(recipe.model_dump(mode="json"))
    assert told.count(SECRET) >= 12
    left = outgoing_recipe(recipe.model_dump(mode="json"))
    assert left is not None
    assert SECRET not in json.dumps(left)
    again, plain = validate_recipe(left, "what left").model_dump(mode="json"), recipe.model_dump(mode="json")
    changed = {
        f"{section}.{name}" if isinstance(values, dict) else section
        for section, values in plain.items()
        for name in (values if isinstance(values, dict) else [""])
        if (values[name] != again[section][name] if isinstance(values, dict) else values != again[section])
    }
    assert changed == {
        "name", "description", "data.sites", "data.prefer_sites", "data.file_column", "data.label_column",
        "data.patient_column", "data.site_column", "data.view_column", "data.split_column", "data.sex_column",
        "data.age_column", "data.finding_columns", "exchange.hospital",
    }  # fmt: skip


def test_what_of_the_provenance_is_not_named_or_malformed_stays() -> None:
    known = {
        "method": "IADD",
        "recipe": secretive().model_dump(mode="json"),
        "recipe_digest": "b" * 64,
        "corpus": SECRET,
        "trajectories": "t" * 64,
        "training_images": {SECRET: 3},
        "note": SECRET,
        "network": f"{SECRET}\n",
        "versions": {"medistill": "0.1.0", "host": f"{SECRET} ward"},
        "starts_from": SECRET,
        "privacy": "No formal privacy guarantee was sought in this mode.",
    }
    left = outgoing_provenance(replace(small_set(), provenance=known)).model_dump(exclude_none=True)
    assert SECRET not in json.dumps(left)
    assert set(left) == {"method", "recipe", "recipe_digest", "privacy"}
    assert left["recipe_digest"] == validate_recipe(left["recipe"], "what left").digest != secretive().digest


def test_of_a_quantised_set_what_is_named_leaves_and_nothing_else() -> None:
    stated = {
        "encoder": "brought", "dimension": 64, "min_cluster_size": 5, "smallest_cluster": 7, "weights": "mass",
        "labels": "soft", "temperature": 2.0, "teachers": 3, "decoder": "d" * 64, "licence": "CC-BY-4.0",
    }  # fmt: skip
    known = {"starts_from": "quantised", "quantisation": {**stated, "folder": SECRET, "cell_patients": [7, 9]}}
    left = outgoing_provenance(replace(small_set(), provenance=known)).as_json()
    assert left == {"starts_from": "quantised", "quantisation": stated}
    short = {"encoder": "pca", "dimension": 64, "min_cluster_size": 5, "smallest_cluster": 7}
    left = outgoing_provenance(replace(small_set(), provenance={**known, "quantisation": short})).as_json()
    assert left["quantisation"] == short
    for wrong in ({**stated, "decoder": SECRET}, {**stated, "licence": f"{SECRET}\n"}, {"encoder": "pca"}, SECRET):
        left = outgoing_provenance(replace(small_set(), provenance={**known, "quantisation": wrong})).as_json()
        assert left == {"starts_from": "quantised"}


def test_the_hash_of_the_corpus_stays_where_a_guarantee_would_not_cover_it() -> None:
    guarantee = {
        "epsilon": 7.9, "delta": 1e-5, "unit": "patient", "mechanism": "DP-SGD", "accountant": "PRV", "sigma": 1.2,
        "clip": 1.0, "sample_rate": 0.1, "steps": 10, "experts": 2, "units_public": 1000, "choice": "last outer step",
    }  # fmt: skip
    plain: DistilledSet = replace(small_set(), provenance={"corpus": "c" * 64})
    private = replace(plain, provenance={"corpus": "c" * 64, "differential_privacy": guarantee})
    assert outgoing_provenance(plain).corpus == "c" * 64
    assert outgoing_provenance(private).corpus is None
    assert outgoing_provenance(private).differential_privacy == guarantee


def secret_report() -> Report:
    """The example with the secret in every place that holds a word of the sender's."""
    report = report_example.whole()
    assert report.corpus is not None
    names = {site: f"{SECRET}_{k}" for k, site in enumerate(report.corpus.sites)}
    corpus = replace(
        report.corpus,
        sites=tuple(names.values()),
        counts_by_site={names[site]: counts for site, counts in report.corpus.counts_by_site.items()},
        notes=(f"Two files of {SECRET} had no window.",),
    )
    making = replace(
        report.making,
        recipe=SECRET,
        hardware=f"{SECRET}s workstation",
        commands=(f"medistill distill --data {SECRET}",),
        settings={k: v for k, v in sections_of(secretive()).items() if k},
    )
    evaluation = replace(
        report.evaluation,
        subgroups=tuple(
            replace(group, name=names.get(group.name, group.name)) if group.trait == "site" else group
            for group in report.evaluation.subgroups
        ),
        untold={"site": f"all test images share one: {SECRET}_1"},
    )
    held_out = tuple(
        HeldOutSite(names.get(site.site, f"{SECRET}_9"), site.evaluation, f"{SECRET} failed", f"{SECRET} lacks one")
        for site in report.sites
    )
    audit = report.audit
    assert audit is not None
    copies = tuple(
        replace(one, sites=tuple(replace(site, name=names[site.name]) for site in one.sites)) for one in audit.copies
    )
    assert audit.membership is not None
    attack = audit.membership.attacks[0]
    by_site = replace(attack.cells[0], trait="site", name=f"{SECRET}_0")
    membership = replace(
        audit.membership,
        attacks=(replace(attack, cells=(*attack.cells, by_site)), *audit.membership.attacks[1:]),
    )
    return replace(
        report,
        corpus=corpus,
        making=making,
        evaluation=evaluation,
        sites=held_out,
        audit=replace(audit, copies=copies, membership=membership, command=f"medistill audit {SECRET}"),
        shows_real=True,
        missing={"across": f"ResNet-18: /home/{SECRET}/x is damaged"},
    )


def test_a_report_leaves_with_its_figures_and_without_the_senders_words() -> None:
    report = secret_report()
    assert json.dumps(report.as_json()).count(SECRET) > 60
    sites = site_names(report, report.audit)
    left = outgoing_report(report, sites)
    for told in (json.dumps(left.as_json()), render_html(left)):
        assert SECRET.lower() not in told.lower()
    assert not left.shows_real
    assert left.evaluation.arms == report.evaluation.arms
    assert left.evaluation.differences == report.evaluation.differences
    assert left.verdict.against_raw == report.verdict.against_raw
    assert left.corpus is not None
    assert left.corpus.sites == ("Site 1", "Site 2", "Site 3", "Site 4")
    assert list(left.corpus.counts_by_site.values()) == list(report.corpus.counts_by_site.values())  # type: ignore[union-attr]
    assert "Site 1" in render_html(left)


def test_a_criterion_that_a_site_fails_leaves_without_its_name() -> None:
    audit = report_example.audited()
    assert audit.membership is not None
    loss = audit.membership.attacks[0]
    share = Estimate(0.9, 0.8, 1.0)
    by_site = AttackCell("site", SECRET, 30, 30, share, (Detection(100, share, None),))
    found = (replace(loss, cells=(*loss.cells[:1], by_site)),)
    failing = Loss().judge(Evidence(membership=found), FACTS, AuditRecipe())
    assert any(SECRET in one.name for one in failing)
    whole = replace(audit, criteria=failing, membership=replace(audit.membership, attacks=found))
    left = outgoing_audit(whole, site_names(None, whole))
    assert SECRET not in json.dumps(left.as_json())
    assert [one.name for one in left.criteria if "site" in one.name] == [
        "Patients found (loss attack, site Site 5)",
        "AUC (loss attack, site Site 5)",
    ]
    assert [(one.figure, one.verdict) for one in left.criteria] == [(one.figure, one.verdict) for one in failing]


def test_an_audit_leaves_with_its_figures() -> None:
    report = secret_report()
    audit = report.audit
    assert audit is not None
    left = outgoing_audit(audit, site_names(None, audit))
    assert SECRET not in json.dumps(left.as_json())
    assert left.criteria == audit.criteria
    assert [one.copies for one in left.copies] == [one.copies for one in audit.copies]
    assert [site.name for site in left.copies[0].sites] == ["Site 1", "Site 2", "Site 3", "Site 4"]
    assert left.corpus == ""


def test_no_hash_of_what_stays_leaves_with_the_report() -> None:
    report = report_example.whole()
    hashes = {"corpus": "c" * 64, "experts": "e" * 64, "recipe": "d" * 64, "set/images.safetensors": "a" * 64}
    report = replace(report, making=replace(report.making, hashes=hashes))
    left = outgoing_report(report, site_names(report, report.audit), recipe_digest="b" * 64)
    assert left.making.hashes == {"set/images.safetensors": "a" * 64, "recipe": "b" * 64}
    told = json.dumps(left.as_json())
    assert not [name for name in ("c", "d", "e") if name * 64 in told]
