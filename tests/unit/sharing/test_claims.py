"""Claims on means of patients' images, beside a recipe that a stranger wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import MergedPart, SharedProvenance
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError
from medistill.method_names import method_names
from medistill.privacy.accounting import Guarantee
from medistill.recipe import load_recipe
from medistill.recipe.method import settings_kind
from medistill.sharing.bundle import Bundle, pack, privacy_record
from medistill.sharing.claims import check_claims
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.outgoing import outgoing_recipe
from medistill.sharing.statement import Statement
from medistill.workflow.received import receive
from tests.factories import sent_bundle


def manifest(recipe: dict[str, Any]) -> BundleManifest:
    """The manifest of a set that is said to be of means in codes of a PCA, and made with that recipe."""
    said = QuantisedSummary(min_cluster_size=5, smallest_cluster=7, encoder="pca")
    provenance = SharedProvenance(starts_from="quantised", quantisation=said, recipe=recipe)
    return BundleManifest.from_bytes(sent_bundle.unsigned()["manifest.json"]).replaced(provenance=provenance)


NO_SECTIONS: tuple[Any, ...] = (5, None, [1], True, "ddoq", "<script>", {}, {"quantise": 5})


@pytest.mark.parametrize(
    "recipe",
    [
        *({"method": value} for value in NO_SECTIONS),
        *({"quantise": value} for value in NO_SECTIONS[:7]),
        {"distill": {"quantise": 5}, "quantise": {"priors": "equal"}},
        {"distill": {"experts": "x"}, "experts": {"lr": 1}},
    ],
)
def test_a_recipe_that_is_none_contradicts_nothing(recipe: dict[str, Any]) -> None:
    check_claims(manifest(recipe), sent_bundle.small_set())


@pytest.mark.parametrize(
    "recipe", [{"method": {"quantise": {"encoder": [1]}}}, {"method": "ddoq", "quantise": {"encoder": "autoencoder"}}]
)
def test_a_recipe_of_either_version_is_held_against_the_claim(recipe: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="encoder is said to be pca, and"):
        check_claims(manifest(recipe), sent_bundle.small_set())


def private_recipe() -> dict[str, Any]:
    """That of a run under differential privacy, as it leaves the house."""
    left = outgoing_recipe(load_recipe("covid-xray-dp").model_dump(mode="json"))
    assert left is not None
    return left


def private_set(**changes: Any) -> DistilledSet:
    """The small set, normalised by the constants that the recipe declares."""
    asked = load_recipe("covid-xray-dp").privacy
    normalisation = Normalisation((asked.mean,), (asked.std,))
    return replace(sent_bundle.small_set(), **{"normalisation": normalisation, **changes})


def promising(recipe: dict[str, Any] | None, **said: Any) -> BundleManifest:
    """The manifest of a set that is said to be private, as a run of covid-xray-dp is, and made with that recipe."""
    asked = load_recipe("covid-xray-dp").privacy
    promised = Guarantee(
        asked.epsilon, asked.delta, asked.unit, "DP-SGD", "own", 50.0, asked.clip, 0.01, 10, 2, asked.units, "last"
    )
    stated = {"starts_from": "noise", "recipe": recipe, **said}
    known = SharedProvenance(differential_privacy=promised.as_json(), **stated)
    sent = BundleManifest.from_bytes(sent_bundle.unsigned()["manifest.json"])
    return sent.replaced(provenance=known, privacy=privacy_record(known))


def changed(section: str, **values: Any) -> dict[str, Any]:
    known = private_recipe()
    return {**known, section: {**known[section], **values}}


def test_a_recipe_that_keeps_its_promise_passes() -> None:
    check_claims(promising(private_recipe()), private_set())


@pytest.mark.parametrize("method", ["dc", "idc", "dance", "frepo", "dm", "glad"])
def test_a_promise_beside_a_method_that_sees_patients_is_refused(method: str) -> None:
    for privacy in (private_recipe()["privacy"], {}):
        recipe = {**private_recipe(), "method": {"name": method, "init": "noise"}, "privacy": privacy}
        with pytest.raises(ArtifactError, match=rf"method {method} sees patients' images without noise"):
            check_claims(promising(recipe), private_set())


@pytest.mark.parametrize(
    ("recipe", "breach"),
    [
        (lambda: changed("method", init="real"), "start from patients' images"),
        (lambda: changed("prune", share=0.1), "prune"),
        (lambda: changed("data", zca=True), "a whitening is fitted to the patients without noise"),
        (lambda: changed("data", classes=[]), "the list of classes"),
        (lambda: {**private_recipe(), "method": {"name": "pdd", "init": "noise", "new_experts": True}}, "trained anew"),
        (
            lambda: {**private_recipe(), "method": {"name": "pad", "init": "noise"}},
            "networks that tell how difficult a patient is",
        ),
        (lambda: changed("data", colour="no such setting"), "colour"),
        (lambda: {**private_recipe(), "privacy": 5}, "privacy"),
        (lambda: {**private_recipe(), "method": 5}, "method"),
        (lambda: {"method": "iadd", "distill": {"init": "real"}}, "start from patients' images"),
        (lambda: {"method": "iadd", "distill": 5}, "distill"),
    ],
)
def test_a_promise_that_its_recipe_does_not_keep_is_refused(recipe: Callable[[], dict[str, Any]], breach: str) -> None:
    with pytest.raises(ArtifactError, match=f"promises differential privacy, and its recipe does not .*{breach}"):
        check_claims(promising(recipe()), private_set())


def test_a_private_set_is_packed_and_opened() -> None:
    known = promising(private_recipe()).provenance.as_json()
    made = replace(private_set(), provenance=known)
    files = pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test."))
    assert Bundle.of_files(files).manifest.privacy is not None


MEANS = QuantisedSummary(min_cluster_size=5, smallest_cluster=7, encoder="pca")


@pytest.mark.parametrize(
    ("said", "breach"),
    [
        ({"starts_from": "real"}, "its images began as real images"),
        ({"starts_from": "quantised"}, "its images began as means of real images"),
        ({"starts_from": "noise", "quantisation": MEANS}, "its images are, or began as, means of real images"),
        ({"starts_from": None, "method": "FRePo"}, "it was made by FRePo, which sees patients' images without noise"),
        ({"starts_from": None, "method": "DDOQ"}, "it was made by DDOQ"),
    ],
)
@pytest.mark.parametrize("recipe", [None, "kept"])
def test_a_promise_is_held_to_what_is_said_beside_a_recipe_or_without_one(
    said: dict[str, Any], breach: str, recipe: str | None, tmp_path: Path
) -> None:
    made_with = None if recipe is None else private_recipe()
    with pytest.raises(ArtifactError, match=f"promises differential privacy, and what it says .*{breach}"):
        check_claims(promising(made_with, **said), private_set())
    known = promising(made_with, **said).provenance.as_json()
    private_set(provenance=known).save(tmp_path / "set")
    with pytest.raises(ArtifactError, match=breach):
        receive(tmp_path / "set")


def test_a_promise_without_a_recipe_that_says_nothing_else_passes(tmp_path: Path) -> None:
    for said in ({}, {"method": "IADD"}, {"method": "private-means"}, {"method": "ours", "starts_from": None}):
        made = promising(None, **said)
        check_claims(made, private_set())
        private_set(provenance=made.provenance.as_json()).save(tmp_path / str(said))
        assert receive(tmp_path / str(said)).distilled.provenance.method == said.get("method")


def test_a_promise_is_held_to_the_arrays(tmp_path: Path) -> None:
    whitening = Whitening.of(np.random.default_rng(0).integers(0, 256, (9, 1, 8, 8), dtype=np.uint8), 0.1)
    for changes, breach in (
        ({"normalisation": replace(Normalisation.full_scale(1), whitening=whitening)}, "it carries a whitening"),
        ({"soft_labels": np.zeros((4, 2), np.float32), "label_kind": "values"}, "its labels are values"),
    ):
        for recipe in (None, private_recipe()):
            with pytest.raises(ArtifactError, match=breach):
                check_claims(promising(recipe), private_set(**changes))
    measured = private_set(normalisation=Normalisation((0.41,), (0.25,)))
    with pytest.raises(ArtifactError, match=r"another mean than the one constant .* \(privacy\.mean\)"):
        check_claims(promising(private_recipe()), measured)
    check_claims(promising(None), measured)
    colours = private_set(
        images=np.zeros((4, 3, 8, 8), np.float32), normalisation=Normalisation((0.4, 0.4, 0.4), (0.2, 0.2, 0.21))
    )
    with pytest.raises(ArtifactError, match=r"another std than the one constant"):
        check_claims(promising(None), colours)
    pruned = {**promising(None).provenance.as_json(), "pruned": {"Normal": 3}}
    private_set(provenance=pruned).save(tmp_path / "set")
    with pytest.raises(ArtifactError, match="left out for their losses"):
        receive(tmp_path / "set")


def test_the_hash_of_a_corpus_beside_a_promise_is_refused() -> None:
    with pytest.raises(ArtifactError, match="tells the hash of its corpus"):
        check_claims(promising(private_recipe(), corpus="a" * 64), private_set())


def part(first: int, epsilon: float | None, **said: Any) -> MergedPart:
    delta, unit = (None, None) if epsilon is None else (1e-5, "patient")
    return MergedPart(
        sender="", set_digest=f"{first}" * 64, first=first, images=2, privacy="", epsilon=epsilon, delta=delta,
        unit=unit, **said,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "of_all", "breach"),
    [
        ({"drawn": "leverage"}, {}, "its images began as real images, drawn by leverage"),
        ({"pruned": 0.2}, {}, "originals were left out for their losses"),
        ({"thinned": 0.2}, {}, "originals were left out for their losses or effects"),
        ({}, {"starts_from": "real"}, "its images began as real images"),
        ({}, {"quantisation": MEANS, "starts_from": "quantised"}, "means of real images"),
        ({}, {"method": "DM"}, "it was made by DM"),
    ],
)
def test_a_united_set_is_held_to_the_promise_of_each_source(
    said: dict[str, Any], of_all: dict[str, Any], breach: str
) -> None:
    sent = BundleManifest.from_bytes(sent_bundle.unsigned()["manifest.json"])

    def united(epsilon: float | None) -> BundleManifest:
        parts = (part(0, None), part(2, epsilon, **said))
        return sent.replaced(provenance=SharedProvenance(sources=parts, **of_all))

    check_claims(united(None), sent_bundle.small_set())
    with pytest.raises(ArtifactError, match=f"promised for source 2 of the united set, and .*{breach}"):
        check_claims(united(3.0), sent_bundle.small_set())


def test_one_guarantee_for_several_sources_is_refused() -> None:
    with pytest.raises(ArtifactError, match="united from several sets, and one guarantee is stated for all"):
        check_claims(promising(None, sources=(part(0, 3.0), part(2, 3.0))), private_set())


def test_what_may_promise_is_what_does_not_always_break_it() -> None:
    """Methods whose own settings cannot mend it say so, in one of two sentences, whatever else is set."""
    never = {
        name
        for name in method_names()
        for breach in settings_kind(name)().breaches(load_recipe("covid-xray-dp").privacy)
        if re.match(f"method {name} (sees|averages|hands out parts of) patients' images without noise", breach)
    }
    assert never == {name for name in method_names() if not settings_kind(name).MAY_PROMISE}
    assert "iadd" not in never
    assert "frepo" in never
