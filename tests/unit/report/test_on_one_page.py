"""An audit on one page: every attack under what its attacker has, its controls beside it, its words everyday ones."""

from __future__ import annotations

import re
from dataclasses import replace

from medistill.evaluate.intervals import Estimate
from medistill.privacy import gate
from medistill.privacy.attacks.letters import no_text
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Asked, Criterion
from medistill.privacy.findings import asked_of_audit, findings
from medistill.recipe import AuditRecipe
from medistill.report.attack_words import (
    COUNTED,
    asked_text,
    figure_text,
    found_text,
    limit_text,
    limits_text,
    name_of,
    who,
)
from medistill.report.audit_page import WORDS, render_audit
from medistill.report.notes import Notes
from medistill.report.render.html_table import table_html
from medistill.report.render.html_text import Writer
from medistill.report.report_page import render_html
from medistill.report.sections import sections
from medistill.report.sections.glossary import GLOSSARY
from medistill.report.sections.on_one_page import RULE, one_page
from medistill.report.table import Table
from medistill.report.view import ReportView
from medistill.sharing.data_card import _criterion
from tests.factories import full_audit, report_example

AUDIT = full_audit.full_audit()


def the_table(audit: object = AUDIT) -> Table:
    (found,) = (block for block in one_page(audit).blocks if isinstance(block, Table))  # type: ignore[arg-type]
    return found


def test_rows_stand_under_what_the_attacker_has() -> None:
    groups = {group.title: [row[0] for row in group.rows] for group in the_table().groups}
    assert "The same picture, point by point" in groups["Whoever has the set"]
    assert "Names and other writing" in groups["Whoever has the set"]
    assert groups["Whoever has the set, its recipe and a picture of the person"] == 2 * [
        "Recognised by a program trained on the set"
    ]
    of_itself = groups.pop("The audit itself")
    assert of_itself == [one.name for one in asked_of_audit(AUDIT)]
    assert sum(map(len, groups.values())) == sum(len(one.findings) for one in one_findings())


def one_findings() -> tuple:  # type: ignore[type-arg]
    return findings(AUDIT)


def test_a_row_has_the_figure_its_limit_and_both_controls() -> None:
    (row,) = (row for row in the_table().rows if row[0] == the_loss() and row[1] == "pairs told apart")
    html = re.sub(r"<[^>]+>", "", table_html(replace(the_table(), groups=the_table().groups[:0]), Writer(Notes())))
    assert "In all originals" in html
    text = [cell if isinstance(cell, str) else "".join(getattr(part, "text", part) for part in cell) for cell in row]
    plain = [one.replace("\u202f", " ").replace("\u00a0", " ") for one in text]
    assert plain[2:] == [
        "51.2 % (46.6 to 55.8 %)", "at most 60 %", "93.4 % (88.8 to 98.0 %)", "66.1 % (61.5 to 70.7 %)", "pass",
    ]  # fmt: skip


def the_loss() -> str:
    return "Recognised by a program trained on the set"


def test_a_new_attack_has_its_row_without_a_word_here() -> None:
    asked = Asked("at least epsilon", "at most", "count")
    audit = replace(AUDIT, criteria=(*AUDIT.criteria, Criterion("x", 3, 8, "pass", "", asked, "<b>of tomorrow</b>")))
    (group,) = the_table(audit).groups[-1:]
    assert group.title == who(())
    assert group.rows[0][:3] == ("<b>of tomorrow</b>", "at least epsilon", "3")
    page = render_audit(audit)
    assert "<b>of tomorrow" not in page
    assert "&lt;b&gt;of tomorrow" in page


def test_a_pass_that_real_pictures_share_says_that_it_says_little() -> None:
    loss = next(one for one in one_findings() if one.name == "loss")
    for finding in loss.findings:
        blind = replace(finding, figures=replace(finding.figures, control=finding.figures.of_set))
        assert finding.verdict == "pass"
        assert blind.control_unseen
        assert not replace(blind, verdict="fail").control_unseen
        assert not replace(blind, figures=replace(blind.figures, control=Estimate(None, reason="none"))).control_unseen
        seen = finding.figures.control.value
        assert seen is not None
        assert finding.control_unseen == (seen <= finding.threshold)
    page = render_audit(AUDIT)
    unseen = sum(finding.control_unseen for one in one_findings() for finding in one.findings)
    assert ("real pictures of patients pass here too" in page) == (unseen > 0)


def test_what_was_not_judged_leads_to_its_reason() -> None:
    criteria = tuple(
        replace(one, verdict="not enough evidence", reason="too few <people>") if one.attack == "loss" else one
        for one in AUDIT.criteria
    )
    page = render_audit(replace(AUDIT, criteria=criteria))
    assert page.count("<strong>not judged</strong>") == 2
    assert '<li id="note-1">too few &lt;people&gt;.</li>' in page


def test_the_page_has_the_rule_what_was_not_shown_and_its_words_and_no_picture() -> None:
    page = render_audit(AUDIT)
    assert RULE[:60] in page
    for said in full_audit.NOT_TESTED:
        assert said in page
    assert set(WORDS) <= {term for term, _ in GLOSSARY}
    assert 'href="#glossary"' in page
    assert 'id="glossary"' in page
    assert "<img" not in page
    assert "<script" not in page


def test_it_is_a_section_of_the_report_where_there_is_an_audit() -> None:
    report = report_example.whole()
    anchors = [one.anchor for one in sections(ReportView(report))]
    assert anchors.index("on-one-page") + 1 == anchors.index("privacy")
    assert 'id="on-one-page"' in render_html(report)
    without = replace(report, audit=None, missing={**report.missing, "audit": "none was made"})
    assert "on-one-page" not in [one.anchor for one in sections(ReportView(without))]


def test_figures_are_percentages_and_whole_numbers() -> None:
    asked = Asked("copies", "at most", "share", "most_copies")
    assert limit_text(asked, 0.05) == "at most\u00a05\u202f%"
    assert figure_text(12000, "count") == "12\u202f000"
    assert (figure_text(3.2, "number"), limit_text(replace(asked, reads_as="number"), 8.0)) == (
        "3.200",
        "at most\u00a08",
    )
    assert limits_text(Estimate(3.0, reason="counted"), "count") == ""
    assert COUNTED[asked.key] == "images that are copies"


def too_small() -> Audit:
    """An audit of a set whose images are too small for letters, so that none were looked for."""
    text = replace(report_example.text_figures(), side=32, legible=False, originals="", reader="", images=0, found=())
    others = tuple(one for one in AUDIT.criteria if one.attack != "letters")
    unread = tuple(replace(one, attack="letters") for one in no_text(text))
    return replace(AUDIT, criteria=(*others, *unread), text=text)


def test_what_was_not_looked_for_is_no_pass_on_any_page() -> None:
    audit = too_small()
    page, report = render_audit(audit), render_html(replace(report_example.whole(), audit=audit))
    card = "\n".join(_privacy_rows(audit))
    for text, rows in ((page, 2), (report, 4)):
        shown = [re.sub(r"<[^>]+>", " ", row) for row in text.split("<tr") if "Names and other writing" in row]
        assert len(shown) == rows
        assert all("not asked" in row and "not looked for" in row and not re.search(r"\bpass\b", row) for row in shown)
        assert "too small for letters" in text
    assert "(pass)" not in card
    assert card.count("not asked: images of 32 pixels are too small for letters") == 2


def _privacy_rows(audit: Audit) -> list[str]:
    return [f"{name_of(one)}: {_criterion(one)}" for one in audit.criteria if one.attack == "letters"]


def test_the_verdict_names_what_fails_in_the_words_of_its_row() -> None:
    loss = next(one for one in AUDIT.criteria if one.attack == "loss" and one.asked.key == "auc")
    bad = replace(loss, verdict="fail")
    page = render_audit(
        replace(AUDIT, verdict="fail", criteria=tuple(bad if one is loss else one for one in AUDIT.criteria))
    )
    box, _, table = page.partition("</header>")
    words = f"{the_loss()}: pairs told apart, {found_text(bad)} where {asked_text(bad)} was asked"
    assert words in box
    for said in (the_loss(), "pairs told apart", found_text(bad), asked_text(bad)):
        assert said in table


def test_the_page_says_of_what_it_is_and_has_room_to_sign() -> None:
    audit = replace(
        AUDIT, date="2026-12-01", recipe="a <recipe>", method="IADD", images=40, command="medistill audit x"
    )
    page = render_audit(audit)
    top = page.split("<main>")[0].replace("\u00a0", " ")
    for said in ("2026-12-01", "a &lt;recipe&gt;", "IADD", "40 images", audit.set_digest, "medistill audit x"):
        assert said in top
    signed = page.split('id="signature"')[1].split("</section>")[0]
    assert re.findall(r"<dt>(.*?)</dt>", signed) == ["Name", "Role", "Date", "Signature"]
    untold = render_audit(replace(audit, date="", recipe="", method="", images=0, command=""))
    assert "Audited on" not in untold
    assert audit.set_digest in untold


def test_cells_that_stack_on_a_phone_name_their_column() -> None:
    row = next(row for row in render_audit(AUDIT).split("<tr") if "point by point" in row)
    labels = re.findall(r'data-label="(.*?)"', row)
    assert labels == [column.heading for column in the_table().columns[1:]]


def test_who_was_left_out_is_a_note_beside_a_pass() -> None:
    held_out = gate.enough_held_out(500, 299, "patient", AuditRecipe(), left_out=1)
    assert held_out.verdict == "pass"
    others = tuple(one for one in AUDIT.criteria if one.asked != gate.HELD_OUT)
    page = render_audit(replace(AUDIT, criteria=(held_out, *others)))
    assert "1 more patient is held out, and left out of everything that is compared" in page
    alone = gate.enough_held_out(500, 299, "patient", AuditRecipe())
    assert "left out of everything" not in render_audit(replace(AUDIT, criteria=(alone, *others)))
