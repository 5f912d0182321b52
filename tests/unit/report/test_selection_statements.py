"""What report, data card and claims say of training images that were left out, and of those that a set began as."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from medistill.artifacts.provenance import SharedProvenance
from medistill.errors import ArtifactError
from medistill.recipe import load_recipe
from medistill.recipe.load import sections_of
from medistill.report.methods_text import methods
from medistill.report.record import Report
from medistill.report.report_page import render_html
from medistill.report.sections.images import began_as_real
from medistill.sharing.claims import check_claims
from medistill.sharing.data_card import data_card
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.statement import Statement
from tests.factories import report_example, sent_bundle


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def reported(*settings: str, gone: int = 0) -> Report:
    """The example of a report, of a set that was made under these settings."""
    example = report_example.whole()
    assert example.distilled is not None
    pruned = dict.fromkeys(example.distilled.training_images, gone) if gone else {}
    known = {name: values for name, values in sections_of(load_recipe("demo", settings)).items() if name}
    return replace(
        example,
        benchmark=None,
        distilled=replace(example.distilled, pruned=pruned),
        making=replace(example.making, settings=known),
    )


@pytest.mark.parametrize(
    ("init", "words"), [("leverage", "ridge leverage within each class"), ("distance", "distance from the mean of")]
)
def test_how_originals_were_drawn_is_said_wherever_they_are_named(init: str, words: str) -> None:
    report = reported(f"method.init={init}")
    assert words in plain("\n".join(methods(report)))
    assert words in plain(render_html(report))
    (said,) = began_as_real(report)
    assert "unusual patients more often" in said.text
    plainly = reported()
    assert words not in plain(render_html(plainly))
    assert [one.text for one in began_as_real(plainly) if "unusual" in one.text] == []


def test_what_was_left_out_is_said_with_its_number_and_its_source() -> None:
    report = reported("prune.share=0.25", "prune.epochs=4", "prune.networks=2", gone=1000)
    text = plain("\n".join(methods(report)))
    assert (
        "Before that 4 000 training images, 25.0 % of each class, were left out: those of the largest mean loss over 4 "
        "epochs of 2 networks trained on the whole training split (Xu et al. 2024)."
    ) in text
    assert "arXiv:2305.18381" in text
    page = plain(render_html(report))
    assert "Left out before, for their loss" in page
    assert "1 000" in page
    none = reported()
    assert "Xu et al." not in plain("\n".join(methods(none)))
    assert "Left out before" not in plain(render_html(none))


def card(recipe: dict[str, Any]) -> str:
    known = SharedProvenance(synthetic_source=False, starts_from="real", recipe=recipe)
    said = Statement(licence="CC0-1.0", intended_use="Tests")
    return data_card(sent_bundle.small_set(), said, known, None, None, dicom=False).decode()


def test_a_data_card_says_both() -> None:
    text = card({"prune": {"share": 0.125}, "method": {"init": "leverage"}})
    assert "12.5 % of each class were left out before the set was made" in text
    assert "These were drawn by their ridge leverage within each class." in text
    for recipe in ({}, {"prune": {"share": 0.0}}, {"prune": {"share": "0.3"}}, {"prune": 3, "method": [1]}):
        assert "left out before" not in card(recipe)
        assert "unusual" not in card(recipe)


@pytest.mark.parametrize("init", ["real", "leverage", "distance"])
def test_a_set_that_hides_that_it_began_as_real_images_is_refused(init: str) -> None:
    def manifest(starts_from: str) -> BundleManifest:
        known = SharedProvenance.model_validate({"starts_from": starts_from, "recipe": {"method": {"init": init}}})
        return BundleManifest.from_bytes(sent_bundle.unsigned()["manifest.json"]).replaced(provenance=known)

    check_claims(manifest("real"), sent_bundle.small_set())
    for other in ("noise", "quantised"):
        with pytest.raises(ArtifactError, match=rf"began as {other}, and its recipe .* \(method\.init = {init}\)"):
            check_claims(manifest(other), sent_bundle.small_set())
