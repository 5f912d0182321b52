"""What report and data card say of a set whose images are parts of originals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medistill.artifacts.patched_summary import PatchedSummary
from medistill.artifacts.provenance import SharedProvenance
from medistill.recipe import load_recipe
from medistill.recipe.load import sections_of
from medistill.report.data_statements import distillation
from medistill.report.record import Report
from medistill.report.sections.images import began_as_real
from medistill.sharing.card_origin import origin_text
from tests.factories import report_example
from tests.factories.drawn_corpus import drawn_corpus, drawn_set

OWN = PatchedSummary(along=2, originals=40, groups=37, teachers=3, temperature=2.0)
BROUGHT = PatchedSummary(along=3, originals=90, groups=90, denoiser="ab" * 32, licence="CC-BY-4.0")


def reported(known: PatchedSummary | None) -> Report:
    """The example of a report, of real radiographs, with a set of patches."""
    example = report_example.whole()
    assert example.distilled is not None
    settings = sections_of(load_recipe("demo", ["method.name=diffusion-patches"]))
    distilled = replace(example.distilled, method="Diffusion-patches", starts_from="patches", patched=known)
    made = replace(example.making, settings={name: values for name, values in settings.items() if name})
    return replace(example, benchmark=None, distilled=distilled, making=made)


def test_the_first_thing_to_know_is_that_images_are_parts_of_real_ones() -> None:
    (caveat,) = began_as_real(reported(OWN))
    assert caveat.title == "Images are parts of real ones"
    assert "none of whose pixels was changed" in caveat.text
    assert "No audit passes such a set." in caveat.text


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (OWN, ("trained on the training split leaves unseen", "4 were pasted", "40 training images of 37 patients",
            "the mean answers of 3 networks", "at temperature 2")),
        (BROUGHT, ("that was brought (SHA-256 abababababab, licence CC-BY-4.0)", "9 were pasted", "one class each")),
        (None, ("the images are parts of training images.",)),
    ],
)  # fmt: skip
def test_a_methods_section_tells_how_they_were_chosen(known: PatchedSummary | None, said: tuple[str, ...]) -> None:
    told = distillation(reported(known))
    for words in (*said, "No pixel was changed"):
        assert words in told, words
    assert "{" not in told


def test_a_data_card_says_whose_parts_they_are(tmp_path: Path) -> None:
    distilled = drawn_set(drawn_corpus(tmp_path))
    known = SharedProvenance(
        method="Diffusion-patches", starts_from="patches", synthetic_source=False, split_unit="patient", patched=BROUGHT
    )
    text = origin_text(distilled, known, None)
    assert "**Each image is pasted together from parts of original images, none of whose pixels was changed.**" in text
    assert "9 parts fill an image, and parts of 90 originals of 90 patients are in the set" in text
    assert f"SHA-256 {'ab' * 32} and the licence: CC-BY-4.0" in text
    taught = origin_text(distilled, known.replaced(patched=OWN), None)
    assert "the answers of 3 networks trained on the originals, at temperature 2" in taught
    assert "It is not said of how many." in origin_text(distilled, known.replaced(patched=None), None)
