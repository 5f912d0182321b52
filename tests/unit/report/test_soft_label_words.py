"""What soft labels said, in a report: the labels beside their control, and why they were not asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.privacy.attacks.soft_labels import HARD
from medistill.privacy.membership import LabelTest, SoftLabels
from medistill.report.blocks import Prose
from medistill.report.report_page import render_html
from medistill.report.soft_label_statements import LABELLERS, soft_label_blocks
from medistill.report.table import Table
from medistill.report.text import Missing
from tests.factories import report_example


def test_labels_stand_beside_networks_that_learnt_by_heart() -> None:
    tests = (LabelTest("distilled", 16, 20, 0.54, 0.09), LabelTest("raw", 16, 20, None, None))
    _, table = soft_label_blocks(SoftLabels(tests))
    assert isinstance(table, Table)
    labels, control = table.rows
    assert labels == (LABELLERS["distilled"], 20, 16, 0.54, 0.09)
    assert control[0] == LABELLERS["raw"]
    assert all(isinstance(cell, Missing) for cell in control[3:])


def test_why_they_were_not_asked_is_said() -> None:
    (said,) = soft_label_blocks(SoftLabels((), HARD))
    assert isinstance(said, Prose)
    assert "not asked, because the set has classes for labels" in str(said)


@pytest.mark.parametrize(("found", "words"), [(SoftLabels((), HARD), "was not asked"), (None, "")])
def test_the_report_has_it_where_the_audit_has(found: SoftLabels | None, words: str) -> None:
    whole = report_example.whole()
    assert whole.audit is not None
    assert whole.audit.membership is not None
    text = render_html(
        replace(whole, audit=replace(whole.audit, membership=replace(whole.audit.membership, soft_labels=found)))
    )
    assert ("Whether the soft labels repeat wrong ones" in text) == bool(words)
    assert LABELLERS["raw"] not in text
    assert LABELLERS["raw"] in render_html(whole)
