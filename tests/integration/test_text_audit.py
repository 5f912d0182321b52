"""Text in a set: names that survive in means of five patients, a banner that all share, and sets without either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus, ManifestRow, TextCheck
from medistill.artifacts.distilled_set import DistilledSet
from medistill.privacy.attacks.letters import LETTERS_NAME, ORIGINALS_NAME, OVERLAYS_NAME, no_text
from medistill.privacy.audit import Audit, audit_from_json, load_audit
from medistill.privacy.gate import decide
from medistill.privacy.letters import TextFigures
from medistill.recipe import load_recipe
from medistill.studies.audit import text
from medistill.studies.audit.audit import audit
from tests.factories import audited, report_example
from tests.factories.attacked import audit_context
from tests.factories.burnt_in import needs_reader, strokes
from tests.factories.flat_corpus import save_flat
from tests.unit.privacy.test_overlays import SIDE, bodies

NAMES = ("MEIER HANS", "ROSSI ANNA", "DOE JANE", "KLINGER EVA", "WOLF PETER")
OUGHT = TextCheck(by="a reader of a test", policy="mask")
RECIPE = load_recipe(
    "demo", [f"data.image_size={SIDE}", "network.width=4", "evaluate.raw_epochs=1", "schedule.choose=fixed"]
)


def corpus(folder: Path, text: str, *, looked: bool = False, synthetic: bool = False) -> Corpus:
    """80 images for training and 20 others, of two classes; ``text`` is what is written on all of them."""
    images = bodies(100).astype(float)
    for k in range(100):
        line = {"names": NAMES[k % 5], "banner": "ST ALPHA CLINIC"}.get(text)
        if line:
            images[k, 0] += 150 * strokes(SIDE, SIDE, line, 11, (4, 4))
    return save_flat(
        folder,
        images=np.clip(images, 0, 255).astype(np.uint8),
        labels=[k // 5 % 2 for k in range(100)],
        groups=list(range(100)),
        splits=[0] * 80 + [1] * 10 + [2] * 10,
        class_names=audited.NAMES,
        site_names=["north"],
        synthetic=synthetic,
        manifest=[ManifestRow(f"{k}.dcm", k) for k in range(100)],
        text_check=OUGHT if looked else None,
    )


def means_of_five(corpus: Corpus) -> DistilledSet:
    """Two images a class, each the mean of five patients."""
    grey = np.concatenate([corpus.images[k : k + 5].mean(axis=0, keepdims=True) for k in (0, 10, 5, 15)])
    made = audited.distilled(audited.normalisation(corpus).apply(grey), corpus, starts_from="quantised", recipe=RECIPE)
    known = {"quantisation": {"smallest_cluster": 5, "min_cluster_size": 5}}
    return replace(made, provenance={**made.provenance.as_json(), **known})


def audit_of(corpus: Corpus, out: Path) -> Audit:
    return audit(means_of_five(corpus), corpus, RECIPE, out=out, device="cpu", quick=True)


def looked_at(corpus: Corpus, *, built_in: bool = False) -> TextFigures:
    return text.text_figures(audit_context(means_of_five(corpus), corpus, RECIPE, built_in=built_in))[0]


def verdicts(found: TextFigures) -> dict[str, str]:
    return {one.name: one.verdict for one in no_text(found)}


@needs_reader
def test_names_in_means_of_five_patients_fail_a_set_that_nothing_else_fails(tmp_path: Path) -> None:
    found = audit_of(corpus(tmp_path, "names", looked=True), tmp_path / "audit")
    assert found.verdict == "fail"
    assert decide([one for one in found.criteria if one.name not in (LETTERS_NAME, OVERLAYS_NAME)]) != "fail"
    assert found.text is not None
    assert verdicts(found.text)[LETTERS_NAME] == "fail"
    assert {one.number for one in found.text.found if one.seen == "image"} == {0, 1, 2, 3}
    told = (tmp_path / "audit" / "audit.json").read_text().upper()
    assert not any(part in told for name in NAMES for part in name.split() if len(part) > 3)
    assert load_audit(tmp_path / "audit" / "audit.json") == found
    page = tmp_path / "audit" / "overlays.html"
    assert page.stat().st_mode & 0o777 == 0o600
    assert "DO NOT SHARE" in page.read_text()


@needs_reader
def test_a_banner_on_all_files_is_read_and_told_from_what_the_site_shares(tmp_path: Path) -> None:
    found = looked_at(corpus(tmp_path, "banner"))
    assert verdicts(found) == {ORIGINALS_NAME: "not enough evidence", LETTERS_NAME: "fail", OVERLAYS_NAME: "fail"}
    assert {one.seen for one in found.found} == {"image", "mean of a class", "mean of the set"}


@needs_reader
def test_an_ordinary_set_has_no_letters_and_the_reader_would_have_seen_them(tmp_path: Path) -> None:
    found = looked_at(corpus(tmp_path, "", looked=True))
    assert verdicts(found) == {ORIGINALS_NAME: "pass", LETTERS_NAME: "pass", OVERLAYS_NAME: "pass"}
    assert found.clean
    assert [one.found for one in found.planted if one.contrast == 60] == [4]


@pytest.mark.parametrize("synthetic", [False, True])
def test_without_a_reader_an_unchecked_set_is_not_enough_evidence_whatever_its_files_say(
    synthetic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what medistill drew itself needs no reader for the originals; the tag of a file is no proof of that."""
    monkeypatch.setattr(text, "reader_name", lambda: None)
    made = corpus(tmp_path, "banner", synthetic=synthetic)
    found = looked_at(made)
    assert verdicts(found) == {ORIGINALS_NAME: "not enough evidence", LETTERS_NAME: "not enough evidence"}
    assert not found.clean
    assert [one.likeness is None for one in found.overlays] == [False], "what is shared is shown all the same"
    drawn = looked_at(made, built_in=True)
    assert verdicts(drawn) == {ORIGINALS_NAME: "pass", LETTERS_NAME: "not enough evidence"}


def test_an_audit_of_the_schema_before_is_read_and_does_not_pass() -> None:
    known = replace(report_example.audited(), verdict="pass").as_json()
    before = {**{name: value for name, value in known.items() if name != "text"}, "schema": 1}
    found = audit_from_json(before, "a test")
    assert found.text is None
    assert not found.passed
    assert found.as_json() == {**known, "text": None}
