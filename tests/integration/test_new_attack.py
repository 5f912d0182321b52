"""An attack more is a file more: it is found where it lies, made, judged, told of and read again."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from medistill.artifacts.corpus import Corpus
from medistill.privacy import attacks
from medistill.privacy.attack import GAPS
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import Audit, load_audit
from medistill.report.report_page import render_html
from medistill.sharing.audit_file import audit_bytes, audit_of_bytes
from medistill.studies.audit.audit import audit
from medistill_cli.commands import audit as command
from tests.factories import audited, report_example

TOYS = Path(__file__).resolve().parents[1] / "factories" / "toy_attacks"
RECIPE = audited.RECIPE.model_copy(
    update={
        "audit": audited.RECIPE.audit.model_copy(update={"shadows": 0, "networks": 1}),
        "evaluate": audited.RECIPE.evaluate.model_copy(update={"epochs": 1, "raw_epochs": 1}),
    }
)


@pytest.fixture(scope="module", autouse=True)
def with_toys():
    """The toy attacks lie in the folder of attacks, as far as Python can tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attacks, "__path__", [*attacks.__path__, str(TOYS)])
        yield
    for toy in TOYS.glob("*.py"):
        sys.modules.pop(f"{attacks.__name__}.{toy.stem}", None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"), train=160, held_out=240)


@pytest.fixture(scope="module")
def found(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    """The audit of ten real images, mirrored."""
    grey = np.asarray(corpus.images[audited.starting_rows(corpus)])[..., ::-1]
    made = audited.distilled(audited.normalisation(corpus).apply(grey), corpus, starts_from="noise")
    folder = tmp_path_factory.mktemp("audit")
    return audit(made, corpus, RECIPE, out=folder, device="cpu"), folder


def test_they_are_found_beside_the_package_s_own() -> None:
    assert {"brightness", "mirrored copies", "loss"} <= {attack.name for attack in all_attacks()}


def test_a_new_search_has_controls_figures_and_a_criterion(found: tuple[Audit, Path]) -> None:
    copies = {one.subject: one.copies for one in found[0].copies if one.space == "mirrored"}
    assert copies["distilled"] == 10  # no other search finds them
    assert copies["random"] == copies["held out"] == 0  # as they are, these are no copies when mirrored
    verdicts = {one.name: one.verdict for one in found[0].criteria}
    assert (verdicts["Copies in mirrored pixels"], verdicts["Copies in pixels"]) == ("fail", "pass")
    assert found[0].verdict == "fail"


def test_a_new_attack_on_people_has_figures_by_cell_and_criteria(found: tuple[Audit, Path]) -> None:
    assert found[0].membership is not None
    ours = [one for one in found[0].membership.attacks if one.name == "brightness"]
    assert [one.source for one in ours] == ["distilled", "random"]
    assert (ours[0].cells[0].members, ours[0].cells[0].non_members) == (160, 240)
    assert {cell.trait for cell in ours[0].cells} == {"all", "class", "site"}
    asked = {one.name: one for one in found[0].criteria}
    for name, setting in (
        ("Patients found (mean brightness attack)", "most_found"),
        ("AUC (mean brightness attack)", "most_auc"),
    ):
        assert asked[name].threshold == getattr(RECIPE.audit, setting)
        assert asked[name].asked.setting == setting


def test_what_they_do_is_no_longer_told_as_not_tested(found: tuple[Audit, Path]) -> None:
    assert not {GAPS["traits"], GAPS["transformed copies"]} & set(found[0].not_tested)
    assert {GAPS["reconstruction"], GAPS["encodings"]} <= set(found[0].not_tested)


def test_the_record_holds_them_and_is_read_again_even_without_them(found: tuple[Audit, Path]) -> None:
    told, folder = found
    stored = json.loads((folder / "audit.json").read_text())
    assert "mirrored" in {one["space"] for one in stored["rules"]}
    assert "brightness" in {one["name"] for one in stored["membership"]["attacks"]}
    assert load_audit(folder / "audit.json") == told
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attacks, "__path__", [one for one in attacks.__path__ if one != str(TOYS)])
        assert "brightness" not in {attack.name for attack in all_attacks()}
        assert audit_of_bytes(audit_bytes(told)) == told


def test_report_and_terminal_show_them(found: tuple[Audit, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    page = render_html(replace(report_example.whole(), audit=found[0]))
    for words in ("Copies in mirrored pixels", "mean brightness", "The toy attack looks at brightness alone."):
        assert words in page
    console = Console(width=200, record=True)
    monkeypatch.setattr(command, "out_console", lambda: console)
    command._print(found[0])
    shown = console.export_text()
    assert "mirrored pixels" in shown
    assert "mean brightness: AUC" in shown
