"""Classes that a small set loses are named on the first screen, and a reason stands once on a page."""

from __future__ import annotations

import re
from dataclasses import replace

from medistill.evaluate.evaluation import ArmResult, Evaluation
from medistill.report.lost_classes import lost_classes
from medistill.report.notes import Notes
from medistill.report.report_page import render_html
from medistill.report.wording import sentences
from tests.factories.report_example import whole


def with_found(evaluation: Evaluation, of_raw: tuple[float, ...], of_distilled: tuple[float, ...]) -> Evaluation:
    """The evaluation with these shares on the diagonals of two confusion matrices."""

    def put(arm: ArmResult) -> ArmResult:
        shares = {"raw": of_raw, "distilled": of_distilled}.get(arm.arm)
        if shares is None:
            return arm
        rows = tuple(tuple(share if c == k else 0.0 for k in range(len(shares))) for c, share in enumerate(shares))
        return replace(arm, confusion=rows)

    return replace(evaluation, arms=tuple(put(arm) for arm in evaluation.arms))


def test_a_class_that_falls_far_is_named_the_largest_fall_first() -> None:
    base = whole().evaluation
    told = lost_classes(with_found(base, (0.36, 0.50, 0.90, 0.7), (0.09, 0.41, 0.50, 0.8)))
    assert [sentences(said).split(" is found")[0] for said in told] == [
        base.class_names[2].replace("_", " "),
        base.class_names[0].replace("_", " "),
    ]
    assert "9 % of its test images, 36 % by networks trained on all originals" in sentences(told[1])
    assert lost_classes(replace(base, arms=tuple(arm for arm in base.arms if arm.arm != "raw"))) == ()


def test_a_reason_stands_once_on_a_page_and_every_number_leads_to_it() -> None:
    report = whole()
    reason = "Viral Pneumonia has 2 test patients"
    arms = tuple(
        replace(arm, macro_auc=replace(arm.macro_auc, low=None, high=None, reason=reason))
        for arm in report.evaluation.arms
    )
    page = render_html(replace(report, evaluation=replace(report.evaluation, arms=arms)))
    assert page.count(reason) == 1
    wanted = set(re.findall(r'href="#note-(\d+)"', page))
    assert wanted == set(re.findall(r'id="note-(\d+)"', page))
    assert len(re.findall(r"no interval<a", page)) >= len(arms)


def test_notes_are_numbered_in_the_order_in_which_they_come() -> None:
    notes = Notes()
    assert [notes.number(reason) for reason in ("a", "b", "a")] == [1, 2, 1]
    assert (len(notes), list(notes)) == (2, [(1, "a"), (2, "b")])
