"""Claims on means of patients' images, beside a recipe that a stranger wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medistill.artifacts.provenance import SharedProvenance
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.errors import ArtifactError
from medistill.privacy.accounting import Guarantee
from medistill.recipe import load_recipe
from medistill.sharing.bundle import Bundle, pack, privacy_record
from medistill.sharing.claims import check_claims
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.outgoing import outgoing_recipe
from medistill.sharing.statement import Statement
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


def promising(recipe: dict[str, Any]) -> BundleManifest:
    """The manifest of a set that is said to be private, as a run of covid-xray-dp is, and made with that recipe."""
    asked = load_recipe("covid-xray-dp").privacy
    promised = Guarantee(
        asked.epsilon, asked.delta, asked.unit, "DP-SGD", "own", 50.0, asked.clip, 0.01, 10, 2, asked.units, "last"
    )
    known = SharedProvenance(starts_from="noise", differential_privacy=promised.as_json(), recipe=recipe)
    sent = BundleManifest.from_bytes(sent_bundle.unsigned()["manifest.json"])
    return sent.replaced(provenance=known, privacy=privacy_record(known))


def changed(section: str, **values: Any) -> dict[str, Any]:
    known = private_recipe()
    return {**known, section: {**known[section], **values}}


def test_a_recipe_that_keeps_its_promise_passes() -> None:
    check_claims(promising(private_recipe()), sent_bundle.small_set())


@pytest.mark.parametrize("method", ["dc", "idc", "dance", "frepo", "dm", "glad"])
def test_a_promise_beside_a_method_that_sees_patients_is_refused(method: str) -> None:
    for privacy in (private_recipe()["privacy"], {}):
        recipe = {**private_recipe(), "method": {"name": method, "init": "noise"}, "privacy": privacy}
        with pytest.raises(ArtifactError, match=rf"method {method} sees patients' images without noise"):
            check_claims(promising(recipe), sent_bundle.small_set())


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
        check_claims(promising(recipe()), sent_bundle.small_set())


def test_a_private_set_is_packed_and_opened() -> None:
    known = promising(private_recipe()).provenance.as_json()
    made = replace(sent_bundle.small_set(), provenance=known)
    files = pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test."))
    assert Bundle.of_files(files).manifest.privacy is not None
