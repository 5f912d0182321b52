"""The data card: what a catalogue reads at its top, the figures of the report, and no markup of a sender's."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from markdown_it import MarkdownIt

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import MergedPart, SharedProvenance, TextCheckRecord
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.privacy.letters import Letters
from medistill.recipe import load_recipe
from medistill.report.data_statements import outcome
from medistill.sharing.data_card import data_card
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.outgoing import outgoing_audit, outgoing_provenance, outgoing_report, site_names
from medistill.sharing.statement import Statement
from tests.factories import report_example
from tests.factories.sent_bundle import small_set

yaml = pytest.importorskip("yaml", reason="PyYAML, with which the front matter is read, is not installed")


def card(statement: Statement, **changes: object) -> str:
    distilled = small_set()
    known = {"audit": None, "report": None, "dicom": False, **changes}
    provenance = known.pop("provenance", outgoing_provenance(distilled))
    return data_card(distilled, statement, provenance, **known).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("licence", "front"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Agreement 12: 'section' \"3\"", {"license": "other", "license_name": "agreement-12-section-3"}),
        ("契約", {"license": "other", "license_name": "see-below"}),
        ("1.0", {"license": "other", "license_name": "1.0"}),
    ],
)
def test_the_front_matter_is_yaml(licence: str, front: dict[str, str]) -> None:
    text = card(Statement(licence=licence, intended_use="Tests", acknowledged_risk="a test"))
    _, matter, _ = text.split("---\n", 2)
    found = yaml.safe_load(matter)
    assert front.items() <= found.items()
    assert found["task_categories"] == ["image-classification"]
    assert found["size_categories"] == ["n<1K"]
    assert "synthetic" in found["tags"]
    assert found["pretty_name"] == "4 synthetic medical images in 2 classes"


def test_a_person_finds_the_three_figures_and_what_the_audit_says() -> None:
    report = report_example.whole()
    sites = site_names(report, report.audit)
    assert report.audit is not None
    left, audit = outgoing_report(report, sites), outgoing_audit(report.audit, sites)
    text = card(
        Statement(licence="CC0-1.0", intended_use="Tests", acknowledged_risk="phantoms only"), audit=audit, report=left
    )
    for name, words in (("distilled", "Distilled images"), ("raw", "All originals"), ("random", "Random originals")):
        arm = report.evaluation.arm(name)  # type: ignore[arg-type]
        assert arm is not None
        auc = arm.macro_auc
        row = f"| {words} | {arm.images} | {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}) |"
        assert row in text
    assert "The set fails the audit" in text
    assert "**Sent without a passing audit.** The sender's reason: phantoms only" in text
    assert "No formal privacy guarantee" in text
    assert "anonym" not in text.lower()


def test_what_is_not_known_is_said() -> None:
    text = card(Statement(licence="CC0-1.0", intended_use="Tests"))
    assert "**Not measured.**" in text
    assert "**Audit:** none was made." in text
    assert "Sent without" not in text


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (None, "Whether text was looked for in the originals is not said."),
        (TextCheckRecord(policy="unchecked"), "Text burnt into the originals was not looked for."),
        (TextCheckRecord(policy="mask", by="RapidOCR 3"), "(RapidOCR 3); what was found was masked."),
    ],
)
def test_a_set_that_nothing_read_says_so(check: TextCheckRecord | None, told: str) -> None:
    large = replace(small_set(), images=np.zeros((4, 1, 64, 64), np.float32))
    made = data_card(
        large,
        Statement(licence="CC0-1.0", intended_use="Tests"),
        SharedProvenance(text_check=check),
        None,
        None,
        dicom=False,
    ).decode()
    assert told in made
    assert "The set was not read for letters" in made
    small = card(Statement(licence="CC0-1.0", intended_use="Tests"))
    assert "images of 8 pixels are too small for letters below a twelfth of their height." in small


def test_what_the_audit_read_is_told() -> None:
    audit = report_example.audited()
    assert "no letters other than side markers" in card(Statement(licence="CC0-1.0", intended_use="Tests"), audit=audit)
    text = replace(report_example.text_figures(), found=(Letters("image", 2, 1, 9, 0.9),), originals="", policy="")
    told = card(Statement(licence="CC0-1.0", intended_use="Tests"), audit=replace(audit, text=text))
    assert "letters other than side markers stand in 1 image" in told
    assert "was not looked for, and images of this size can carry letters" in told


def test_a_united_set_names_its_sources() -> None:
    source = MergedPart(
        sender="St Example", set_digest="e" * 64, first=0, images=3, privacy="", epsilon=7.9, delta=1e-5, unit="patient"
    )
    other = replace_source(source, sender="", first=3, images=1, epsilon=None)
    text = card(
        Statement(licence="CC0-1.0", intended_use="Tests"), provenance=SharedProvenance(sources=(source, other))
    )
    assert "| 1 | St Example (unverified) | 0 to 2 | 7.9 |" in text
    assert "| 2 | an unnamed sender (unverified) | 3 to 3 | none |" in text


SELECTED = {"prune": {"share": 0.125, "epochs": 3}, "method": {"name": "dm", "init": "leverage"}}
PLAINLY = {"prune": {"share": 0.0}, "method": {"name": "dm", "init": "real"}}


def united(*recipes: dict[str, object]) -> DistilledSet:
    """Sets of four images each, made with these recipes, united."""
    known = [{"starts_from": "real", "recipe": recipe} for recipe in recipes]
    sets = [
        replace(small_set(), images=small_set().images + number, provenance=one) for number, one in enumerate(known)
    ]
    return merge_sets([MergeSource(f"set {one.digest()[:8]}", one, one.digest()) for one in sets])


def card_of(distilled: DistilledSet) -> str:
    said = Statement(licence="CC0-1.0", intended_use="Tests")
    return data_card(distilled, said, outgoing_provenance(distilled), None, None, dicom=False).decode()


@pytest.mark.parametrize(
    ("recipes", "images"), [((SELECTED, PLAINLY), "images 0 to 3"), ((PLAINLY, SELECTED), "images 4 to 7")]
)
def test_a_united_set_says_of_each_source_which_originals_it_took(
    recipes: tuple[dict[str, object], ...], images: str
) -> None:
    both = united(*recipes)
    text = card_of(both)
    assert f"The originals that {images} began as were drawn by their ridge leverage within each class." in text
    assert f"12.5 % of each class were left out before {images} were made" in text
    assert text.count("left out before") == text.count("unusual patients") == 1
    assert both.provenance.recipe is not None
    assert "prune" not in both.provenance.recipe
    assert both.provenance.recipe["method"]["init"] == "real"
    assert "left out before" not in card_of(united(PLAINLY, PLAINLY))


def test_what_sources_took_alike_is_said_of_each_and_kept_when_united_again() -> None:
    both = united(SELECTED, SELECTED)
    assert both.provenance.recipe is not None
    assert both.provenance.recipe["method"]["init"] == "leverage"
    third = replace(small_set(), images=small_set().images - 1)
    again = merge_sets([MergeSource("third", third, third.digest()), MergeSource("both", both, both.digest())])
    for text, first in ((card_of(both), 0), (card_of(again), 4)):
        for start in (first, first + 4):
            assert f"left out before images {start} to {start + 3} were made" in text
    assert [part.drawn for part in again.provenance.sources or ()] == [None, "leverage", "leverage"]
    assert "pruned" not in again.provenance.as_json()["sources"][0]


def replace_source(source: Source, **changes: object) -> Source:
    return source.model_copy(update=changes)


def test_a_senders_markup_is_shown_as_it_is() -> None:
    evil = "<img src=x onerror=alert(1)> [here](https://evil.example) ![x](y) | **bold**"
    distilled = replace(small_set(), class_names=("Normal", evil))
    text = data_card(
        distilled,
        Statement(licence="CC0-1.0", intended_use=evil, sender=evil, acknowledged_risk=evil),
        outgoing_provenance(distilled),
        None,
        None,
        dicom=False,
    ).decode()
    assert text.count("evil.example") == 4
    page = MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2])
    assert re.findall(r"<(a|img|script)\b[^>]*>", page) == ["img"]
    assert 'src="contact_sheet.png"' in page
    assert "<strong>bold" not in page
    assert "**bold**" in page


def test_what_the_images_began_as_is_called_by_its_name() -> None:
    for synthetic, words in ((True, "began as one of these"), (False, "began as one of the real training images")):
        known = SharedProvenance(synthetic_source=synthetic, starts_from="real")
        assert words in card(Statement(licence="CC0-1.0", intended_use="Tests"), provenance=known)


def test_label_values_are_called_no_probabilities() -> None:
    statement, known = Statement(licence="CC0-1.0", intended_use="Tests"), SharedProvenance(method="FRePo")
    valued = replace(small_set(), soft_labels=np.full((4, 2), -1.5, np.float32), label_kind="values")
    text = data_card(valued, statement, known, None, None, dicom=False).decode()
    assert "they are no probabilities, and a network is trained to answer them by half the squared error." in text
    assert "probabilities of all classes" not in text
    assert "half the squared error" not in card(statement)


def test_a_quantised_set_says_of_how_many_patients_an_image_is_the_mean() -> None:
    means = QuantisedSummary(
        encoder="pca", dimension=64, min_cluster_size=5, smallest_cluster=7, weights="mass", labels="soft",
        temperature=2.0, teachers=3,
    )  # fmt: skip
    known = SharedProvenance(method="DDOQ", network="convnet", starts_from="quantised", quantisation=means)
    weighted = replace(
        small_set(),
        weights=np.array([0.5, 1.5, 1, 1], np.float32),
        soft_labels=np.eye(2, dtype=np.float32)[[0, 0, 1, 1]],
    )
    text = data_card(
        weighted, Statement(licence="CC0-1.0", intended_use="Tests"), known, None, None, dicom=False
    ).decode()
    for words in (
        "Each image is the mean of at least 7 patients' originals, as their principal components show them.",
        "Each image has a weight: multiply its loss by it.",
        "the answers of 3 networks trained on the originals, at temperature 2.",
        "each is a mean of originals of its class that are alike",
    ):
        assert words in text
    assert "tuned" not in text
    changed = known.model_copy(
        update={
            "method": "IADD",
            "split_unit": "image",
            "quantisation": means.model_copy(
                update={"teachers": None, "encoder": "brought", "decoder": "d" * 64, "licence": "CC-BY-4.0 *as is*"}
            ),
        }
    )
    text = card(Statement(licence="CC0-1.0", intended_use="Tests"), provenance=changed)
    assert "Each image began as the mean of at least 7 originals, as an autoencoder that was not trained on" in text
    assert f"SHA-256 {'d' * 64} and the licence: CC-BY-4.0 \\*as is\\*." in text
    assert "multiply its loss" not in text
    assert "They are tuned" not in text
    assert "they are tuned" in text
    silent = card(
        Statement(licence="CC0-1.0", intended_use="Tests"), provenance=SharedProvenance(starts_from="quantised")
    )
    assert "it is not said of how many" in silent


def test_the_words_of_a_report_that_was_altered_are_no_markup_either() -> None:
    report, active = report_example.whole(), "<img src=x onerror=alert(1)>"
    verdict = replace(report.verdict, against_raw=active, against_random=active)
    assert active not in card(
        Statement(licence="CC-BY-4.0", intended_use="Tests"), report=replace(report, verdict=verdict)
    )


@pytest.mark.parametrize(
    "recipe",
    [{"data": "A"}, {"data": {"class_map": ["A"]}}, {"data": {"class_map": {"A": 1}}}, {"data": {"class_map": None}}],
)
def test_a_strangers_recipe_that_has_no_map_of_classes_where_one_belongs_unites_nothing(recipe: dict) -> None:
    """A recipient's machine writes the card anew to compare it."""
    strange = SharedProvenance.model_validate({"recipe": recipe})
    assert "unites" not in card(
        Statement(licence="CC0-1.0", intended_use="Tests", acknowledged_risk="a test"), provenance=strange
    )


def test_classes_that_were_united_are_named_in_card_and_report() -> None:
    """A class that leaves under a new name is what it was made of, to whoever trains on it or tests it."""
    united = small_set().class_names[0]
    recipe = load_recipe("demo", [f"data.class_map.{united}=Blot,Smear"])
    left = outgoing_provenance(replace(small_set(), provenance={"recipe": recipe.model_dump(mode="json")}))
    assert left.recipe is not None
    text = card(Statement(licence="CC0-1.0", intended_use="Tests", acknowledged_risk="a test"), provenance=left)
    assert f"Of the classes of the originals, {united} unites Blot and Smear." in text
    assert "unites" not in card(Statement(licence="CC0-1.0", intended_use="Tests", acknowledged_risk="a test"))
    report = report_example.whole()
    settings = {**report.making.settings, "data": recipe.data.model_dump(mode="json")}
    told = outcome(replace(report, making=replace(report.making, settings=settings)))
    assert told.endswith(f"Classes are taken as they are given with the files; {united} unites Blot and Smear.")
