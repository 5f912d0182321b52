"""An audit as the report and the command word it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from medistill.evaluate.intervals import Estimate
from medistill.privacy import gate
from medistill.privacy.attack import Evidence
from medistill.privacy.attacks.initialisation_leakage import InitialisationLeakage
from medistill.privacy.attacks.letters import no_text
from medistill.privacy.audit import LeakageFigures
from medistill.privacy.criterion import Criterion
from medistill.privacy.membership import AttackCell, CanaryTest, Detection, Membership, MembershipAttack
from medistill.privacy.signals import SetFacts
from medistill.recipe.sections import AuditRecipe
from medistill.report import attack_plots
from medistill.report.attack_words import asked_text, found_text, verdict_word
from medistill.report.audit_statements import HEADINGS, consequence, figures_by_attack, heading, standing
from medistill.report.caveats import caveats
from medistill.report.record import Report
from medistill.report.report_page import markdown, render_html
from tests.factories import report_example
from tests.factories.attacked import membership_hidden
from tests.factories.drawn import drawings

ASKED = AuditRecipe(least_held_out=100)


def leakage(share: float) -> LeakageFigures:
    told = Estimate(share, max(0.0, share - 0.1), min(1.0, share + 0.1))
    return LeakageFigures("distilled", 40, 0.2, 0.0, told, 0.01, told)


def remains(found: LeakageFigures) -> tuple[Criterion, ...]:
    return InitialisationLeakage().judge(Evidence(leakage=(found,)), SetFacts("patient", "real", None), ASKED)


def membership(found: float, chance: float) -> Membership:
    cell = AttackCell("all", "", 200, 200, Estimate(0.6, 0.5, 0.7), (
        Detection(100, Estimate(found, found - 0.01, found + 0.01), None),
    ))  # fmt: skip
    test = CanaryTest("distilled", 20, Estimate(0.3, 0.2, 0.4), Estimate(0.1, 0.0, 0.2), chance)
    return Membership((MembershipAttack("loss", "distilled", (cell,)),), (test,), 5, 16, 1, 2, 50, 0.95, 1.0)


def test_what_is_asked_for_points_to_the_side_on_which_the_gate_passes() -> None:
    told = [
        *(gate.enough_held_out(n, n, unit, ASKED) for n in (1, 50, 500) for unit in ("patient", "image")),
        *(one for share in (0.01, 0.9) for one in remains(leakage(share))),
        *(one for bad in (0, 1) for one in membership_hidden(membership(0.02 + 0.5 * bad, 0.5 - 0.495 * bad), ASKED)),
    ]
    assert {one.verdict for one in told} == {"pass", "fail", "not enough evidence"}
    for one in told:
        assert one.figure is not None
        larger_is_better = (one.figure > one.threshold) == (one.verdict == "pass")
        assert asked_text(one).startswith("at least" if larger_is_better else "at most"), one
        share, said = one.asked.reads_as == "share", found_text(one)
        told = float(said.removesuffix("\u202f%"))
        assert told == pytest.approx(100 * one.figure if share else one.figure, abs=0.05)
        assert said.endswith("%") == share


def test_an_attack_that_gives_no_figure_is_not_told_as_one_that_found_nobody() -> None:
    unknown = replace(membership(0.0, 0.5).attacks[0], cells=(), reason="too few")
    asked = membership_hidden(replace(membership(0.0, 0.5), attacks=(unknown,)), ASKED)
    assert found_text(asked[0]) == "not known"


def test_what_passes_without_a_look_has_no_figure() -> None:
    small = replace(report_example.text_figures(), side=32, legible=False, originals="", reader="", images=0)
    unread = no_text(small)
    assert {one.verdict for one in unread} == {"pass"}
    assert {found_text(one) for one in unread} == {"not looked for"}
    assert {verdict_word(one) for one in unread} == {"not asked"}, "nobody may read it as a pass"
    looked = no_text(report_example.text_figures())
    assert "not looked for" not in {found_text(one) for one in looked}
    assert "not asked" not in {verdict_word(one) for one in looked}


def test_what_failed_and_what_could_not_be_judged_are_told_with_figures() -> None:
    audit = report_example.audited()
    said = consequence(audit)
    assert said == (
        "It should not leave the house. What failed: Remains of the picture an image began as: images that give it "
        "away, 30.0\u202f% where at most\u00a05\u202f% was asked. What could not be judged: Membership inference."
    )
    untold = replace(audit, verdict="not enough evidence", criteria=(audit.criteria[0], audit.criteria[-1]))
    assert consequence(untold).startswith("It should not leave the house on this evidence. What could not be judged")
    many = replace(audit, criteria=tuple(replace(audit.criteria[4], name=f"Thing {k}", attack="") for k in range(9)))
    assert "Thing 3, " in consequence(many)
    assert "Thing 4" not in consequence(many)
    assert "and 5 more" in consequence(many)
    passed = replace(audit, verdict="pass", criteria=audit.criteria[:2])
    assert "does not show that nothing can be found" in consequence(passed)
    assert "differ from the shipped" not in consequence(passed)


def test_a_pass_by_less_than_what_is_shipped_is_told_as_none() -> None:
    """As an earlier version gave it, or a sender whose version ships other thresholds."""
    audit = report_example.audited()
    passed = replace(audit, verdict="pass", criteria=audit.criteria[:4])
    assert (standing(passed), heading(passed)) == ("pass", "The set passes the audit")
    unasked = replace(passed, criteria=audit.criteria[1:4])
    assert standing(unasked) == "not enough evidence"
    assert "did not ask whether the set is the one" in consequence(unasked)
    laxer = replace(passed, thresholds={**audit.thresholds, "most_copies": 0.9, "copy_ratio": 0.6})
    assert standing(laxer) == "not enough evidence"
    assert heading(laxer) != heading(passed)
    assert consequence(laxer).endswith(
        "Settings of the audit that differ from the shipped ones: audit.most_copies is 0.9 (laxer than the shipped 0); "
        "audit.copy_ratio is 0.6 (stricter than the shipped 0.5)."
    )
    hidden = replace(passed, thresholds={k: v for k, v in audit.thresholds.items() if k != "most_copies"})
    assert "audit.most_copies is not told (shipped: 0)" in consequence(hidden)
    assert standing(hidden) == "not enough evidence"


@pytest.fixture(scope="module")
def whole() -> Report:
    return report_example.whole()


def test_the_first_screen_and_the_markdown_open_with_the_audit_or_its_absence(whole: Report) -> None:
    without = replace(whole, audit=None, benchmark=None, missing={**whole.missing, "audit": "no audit was run"})
    for report, words in ((whole, f"Privacy: {HEADINGS['fail']}"), (without, "Privacy: not audited")):
        first_screen = render_html(report).split("</header>")[0]
        assert words in first_screen
        assert f"**{words}.**" in markdown(report).split("\n## ")[0]
    assert "not audited" not in render_html(whole)


def test_a_benchmark_of_public_images_needs_no_audit(whole: Report) -> None:
    report = replace(whole, audit=None, missing={**whole.missing, "audit": "no audit was run"})
    assert report.benchmark is not None
    assert "Privacy: not audited" not in render_html(report).split("</header>")[0]
    assert "not audited" not in markdown(report)


def test_nothing_is_said_of_how_an_unknown_set_was_made(whole: Report) -> None:
    text = {
        one.title: one.text for one in caveats(report_example.report_of(whole.evaluation, None, None, synthetic=None))
    }
    assert "not known" in text["No formal privacy guarantee"]
    assert "made without differential privacy" not in text["No formal privacy guarantee"]


def test_the_budget_of_the_shadows_is_stated(whole: Report) -> None:
    page = " ".join(render_html(whole).replace("\u00a0", " ").split())
    assert "with 2 experts and 20 outer steps, and answers by 2 networks of each source" in page


def test_the_drawings_of_the_attacks_have_every_source_at_its_place(whole: Report) -> None:
    audit = whole.audit
    assert audit is not None
    assert audit.membership is not None
    drawn = drawings(whole)["privacy"]
    label = ElementTree.fromstring(drawn["attacks-found"]).get("aria-label") or ""
    for source in ("distilled images", "all originals", "random originals"):
        assert f"{source} 0.020 (0.017" in label.lower()
    assert "0.610 (0.570" in drawn["attacks-auc"]
    for figure in ("auc", "found"):
        told = figures_by_attack(audit, figure)
        assert told["likelihood ratio, out only"]["distilled"].reason == "there are 2 shadows"
    without = tuple(replace(attack, cells=(), reason="there are 2 shadows") for attack in audit.membership.attacks)
    nothing = replace(whole, audit=replace(audit, membership=replace(audit.membership, attacks=without)))
    assert drawings(nothing)["privacy"] == {}
    assert "there are 2 shadows" in render_html(nothing)
    untried = render_html(replace(whole, audit=replace(audit, membership=None)))
    assert "AUC of the attacks" not in untried
    assert "membership inference was not tried" in untried


def test_the_lines_of_guessing_and_of_the_gate_are_where_they_are_said_to_be() -> None:
    entries = [("loss", {"distilled": Estimate(0.2, 0.1, 0.3), "raw": Estimate(0.4, 0.3, 0.5)})]
    axes = attack_plots.attacks(entries, "share found", guessing=0.01, most=0.05).axes[0]
    upright = [np.asarray(line.get_xdata()) for line in axes.lines]
    places = {float(xs[0]) for xs in upright if len(xs) == 2 and xs[0] == xs[1]}
    assert places == {0.01, 0.05}
    assert sorted(float(xs[0]) for xs in upright if len(xs) == 1) == [0.2, 0.4]
