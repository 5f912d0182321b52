"""What the page of a study says of sets that were received: who vouches, what was declared, what was left out."""

from __future__ import annotations

from dataclasses import replace

from markdown_it import MarkdownIt

from medistill.report.exchange import ExchangeStudy, statements
from medistill.report.exchange_page import exchange_markdown, render_exchange
from medistill.report.exchange_received import SentSet
from tests.factories.exchange_example import study

TAKEN = SentSet(
    "east.zip", 20, "Dr East (unverified)", verdict="not enough evidence", risk="A <i>test</i>", guarantee="Epsilon 3."
)
SIGNED = SentSet("west.zip", 10, "Dr West (verified by the key 00)", signer="00", verdict="pass")
LOST = SentSet("<b>x.zip", reason="it has the classes <script>", do="What to do: ask.")


def received() -> ExchangeStudy:
    """With sets that came, and without what cannot be had then."""
    rows = tuple(
        replace(row, reason="the originals of east.zip are not here") if row.source in ("random", "pooled_raw") else row
        for row in study().matrix.rows
    )
    return replace(study(), received=(TAKEN, SIGNED, LOST), matrix=replace(study().matrix, rows=rows))


def test_it_says_who_vouches_and_what_was_left_out_and_why() -> None:
    text = " ".join(statements(received()))
    assert "stand beside those that were made here: 20\xa0images of east.zip and 10\xa0images of west.zip." in text
    assert "No signature vouches for east.zip:" in text
    assert "<b>x.zip was left out, because it has the classes <script>. What to do: ask." in text
    assert "upper bound" not in text
    assert "was left out" not in " ".join(statements(study()))


def test_words_from_outside_are_shown_and_never_run() -> None:
    page, brief = render_exchange(received()), exchange_markdown(received())
    assert "<script" not in page
    assert "<b>x" not in page
    assert "<i>test" not in page
    assert "A &lt;i&gt;test" in page
    for words in ("Dr East (unverified)", "Dr West (verified by the key 00)", "What was received", "Epsilon 3."):
        assert words in page
    assert "2\xa0received sets" in page
    shown = MarkdownIt("commonmark").enable("table").render(brief)
    assert "<b>" not in shown
    assert "<script" not in shown
    assert shown.partition("What was received")[2].split("</table>")[0].count("<tr>") == 4
    assert "What was received" not in render_exchange(study())
