"""Claims on means of patients' images, beside a recipe that a stranger wrote."""

from __future__ import annotations

from typing import Any

import pytest

from medistill.artifacts.provenance import SharedProvenance
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.errors import ArtifactError
from medistill.sharing.claims import check_claims
from medistill.sharing.manifest import BundleManifest
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
