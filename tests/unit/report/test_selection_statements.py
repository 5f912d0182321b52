"""What report, data card and claims say of training images that were left out, and of those that a set began as."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import SharedProvenance
from medistill.errors import ArtifactError
from medistill.recipe import load_recipe
from medistill.recipe.load import sections_of
from medistill.report.methods_text import methods
from medistill.report.record import Report
from medistill.report.report_page import render_html
from medistill.report.sections.images import began_as_real
from medistill.report.summaries import PartSummary
from medistill.sharing.claims import check_claims
from medistill.sharing.data_card import data_card
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.statement import Statement
from medistill.workflow.run_summaries import set_summary
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
    report = reported("prune.effect_share=0.1", gone=10)
    text = plain("\n".join(methods(report)))
    assert (
        "Before that 40 training images, 10.0 % of each class, were left out: those whose effect on the gradient of 10 "
        "images of their class, in a network with fresh random parameters, was farthest from the mean of the class on "
        "either side, measured once for the whole training split (Xu et al. 2024)."
    ) in text
    assert "mean loss" not in text
    assert "for their loss or effect" in plain(render_html(report))
    both = plain("\n".join(methods(reported("prune.share=0.25", "prune.effect_share=0.1", gone=10))))
    assert "40 training images, 25.0 % of each class and 10.0 % of the others, were left out: those of the" in both
    assert "training split, then those whose effect" in both
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
    text = card({"prune": {"share": 0.125, "effect_share": 0.5}})
    assert "50 % of the others of each class were left out before the set was made: those whose effect" in text
    assert "50 % of each class were" in card({"prune": {"share": 0.0, "effect_share": 0.5}})
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


def united(starts_from: str, *parts: PartSummary) -> Report:
    """The example of a report, of a united set whose recipe, that of its first source, says leverage."""
    report = reported("method.init=leverage")
    assert report.distilled is not None
    return replace(report, distilled=replace(report.distilled, starts_from=starts_from, parts=parts, method=""))


@pytest.mark.parametrize(
    ("starts_from", "parts", "said"),
    [
        ("real", [("leverage", 0.0), ("leverage", 0.0)], "training images, drawn by their ridge leverage within each"),
        ("real", [("", 0.0), ("", 0.0)], "They started from training images."),
        ("noise", [("", 0.0), ("", 0.0)], "They started from Gaussian noise."),
        (
            "real",
            [("leverage", 0.0), ("", 0.0)],
            "They started from training images: images 0 to 3 from some drawn by their ridge leverage within each "
            "class, the others from some drawn at random or in a way that is not told.",
        ),
        (
            "",
            [("", 0.0), ("distance", 0.0)],
            "They started from what is not the same for all of them, or not told of all: images 4 to 7 from training "
            "images drawn by their squared distance from the mean of their class.",
        ),
        ("real", [("", 0.25), ("", 0.25)], "Before each of them was made, 25.0 % of each class were left out: those"),
        ("real", [("", 0.0, 0.5), ("", 0.0, 0.0)], "Of each class were left out 50.0 % before images 0 to 3 were made"),
        ("real", [("", 0.0), ("", 0.5)], "Of each class were left out 50.0 % before images 4 to 7 were made: those of"),
    ],
)
def test_of_a_united_set_is_said_what_is_so_of_all_its_parts(
    starts_from: str, parts: list[tuple[Any, float]], said: str
) -> None:
    report = united(starts_from, *(PartSummary(4 * n, 4, *part) for n, part in enumerate(parts)))
    text = plain("\n".join(methods(report)))
    assert "The set unites those of 2 sources." in text
    assert said in text
    ways = {part[0] for part in parts}
    assert text.count("ridge leverage") == int("leverage" in ways)
    assert ("Xu et al. 2024" in text) == any(any(part[1:]) for part in parts)
    warned = [one.text for one in began_as_real(report)]
    assert any("unusual patients" in one for one in warned) == any(ways)
    assert bool(warned) == (starts_from == "real" or any(ways))
    page = plain(render_html(report))
    assert ("original training images, drawn by" in page) == (ways == {"leverage"})
    assert ("original training images, not all drawn alike" in page) == (ways == {"leverage", ""})


def test_a_summary_of_a_united_set_names_its_parts(tmp_path: Path) -> None:
    part = {"sender": "", "privacy": "None.", "epsilon": None, "delta": None, "unit": None, "images": 2}
    parts = [
        {**part, "set_digest": "a" * 64, "first": 0, "drawn": "leverage"},
        {**part, "set_digest": "b" * 64, "first": 2},
    ]
    made = replace(sent_bundle.small_set(), provenance={"sources": parts, "recipe": {"method": {"init": "leverage"}}})
    made.save(tmp_path / "set")
    summary = set_summary(tmp_path, DistilledSet.load(tmp_path / "set"))
    assert summary.parts == (PartSummary(0, 2, "leverage", 0.0), PartSummary(2, 2, "", 0.0))
    assert set_summary(tmp_path, sent_bundle.small_set()).parts == ()
