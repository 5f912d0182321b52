"""The page, the Markdown and the sentences of a study in which sites exchange sets."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from markdown_it import MarkdownIt

from medistill.evaluate.home_guard import HomeGuard
from medistill.evaluate.hospital_curve import AsGoodAs
from medistill.report.exchange import statements
from medistill.report.exchange_answer import PHANTOMS, answer_lines, opening, sets_callout
from medistill.report.exchange_learning import guard_words
from medistill.report.exchange_page import exchange_markdown, render_exchange
from medistill.report.page import Callout
from medistill.report.studied_site import SetAudit
from medistill.report.wording import difference, number, percent
from tests.factories.exchange_example import SITES, study


def test_what_must_be_read_is_said_where_it_is_true() -> None:
    text = " ".join(statements(study()))
    assert "Class and site are confounded at south (every test image COVID)." in text
    assert "The sets of south and <b>west</b> hold one class each." in text
    assert "start from real images" in text
    assert "tiny has no set, because the site has no training images." in text
    assert "Figures at tiny are not shown: fewer than 5 patients" in text
    assert "their class is as like them: 3 of 20 of north_clinic and 10 of 10 of south." in text
    assert "upper bound that privacy forbids" in text
    assert "invented" not in text
    plain = replace(
        study(),
        sites=(replace(study().sites[0], recovered=None),),
        matrix=replace(study().matrix, sites=study().matrix.sites[:1]),
        starts_from="noise",
        split_unit="image",
        synthetic=True,
    )
    text = " ".join(statements(plain))
    assert "confounded" not in text
    assert "real images" not in text
    assert "Not every patient is known: images count as patients" in text


def test_the_first_screen_says_for_each_hospital_what_it_gains_and_whether_its_set_may_go() -> None:
    headings, rows = answer_lines(study())
    assert len(headings) == len(rows[0]) == 5
    assert [row[0] for row in rows] == list(SITES)
    assert [row[1] for row in rows] == ["not enough evidence", "not audited", "not audited", "no set"]
    for column, place in ((2, SITES[0]), (3, "")):
        one = next(
            one.macro_auc
            for one in study().matrix.differences
            if (one.plus, one.of, one.site, one.minus) == ("own_and_others", SITES[0], place, "own_raw")
        )
        assert one.value is not None
        assert rows[0][column].startswith(difference(one.value))
    assert rows[1][2] == "not available"
    assert rows[0][4] == "20"
    page = render_exchange(study())
    assert page.index("What each hospital would gain") < page.index("Read this with the figures")
    assert page.index("should not be sent") < page.index("What each hospital would gain")


def test_sets_that_did_not_pass_are_named_with_what_that_means() -> None:
    def told(*verdicts: str) -> Callout:
        of = zip(study().sites, verdicts, strict=False)
        sites = tuple(
            replace(site, reason="", audit=SetAudit(verdict, (), (), "") if verdict else None) for site, verdict in of
        )
        return sets_callout(replace(study(), sites=sites))

    assert told("pass", "pass").standing == "pass"
    assert told("pass", "pass").word == "Every set that was made here passes its audit."
    failed = told("fail", "pass", "not enough evidence")
    assert failed.standing == "fail"
    assert failed.word == "Not to be sent as it is: north_clinic and <b>west</b>."
    assert "Audit failed, should not be sent: north_clinic." in failed.text
    assert "Audit passed: south." in failed.text
    assert told("fail", "").word == "No set should be sent as it is."
    assert "Not audited, should not be sent before “medistill audit” passes it: south." in told("fail", "").text
    assert told("pass", "").standing == "not-shown"


def test_phantoms_are_said_to_be_such_first() -> None:
    assert PHANTOMS not in render_exchange(study())
    drawn = replace(study(), synthetic=True)
    assert opening(drawn).startswith(PHANTOMS)
    assert render_exchange(drawn).index(PHANTOMS) < render_exchange(drawn).index("<main")


def test_the_markdown_is_a_table_of_every_row_without_markup_of_a_site() -> None:
    shown = MarkdownIt("commonmark").enable("table").render(exchange_markdown(study()))
    first, second = shown.split("</table>")[1:3]
    assert first.count("<tr>") == 1 + len(study().matrix.rows)
    beside = [one for one in study().matrix.differences if one.plus == "own_and_others"]
    assert second.count("<tr>") == 1 + len(beside)
    assert "<b>" not in shown
    whole = next(row for row in study().matrix.rows if row.source == "all_sets")
    assert number(whole.cells[0].macro_auc.value) in first
    assert percent(whole.cells[1].accuracy.value) in first


def test_a_hospital_that_sent_nothing_has_a_section_with_every_difference() -> None:
    shown = MarkdownIt("commonmark").enable("table").render(exchange_markdown(study()))
    tables = shown.partition("At a hospital that sent nothing")[2].split("</table>")
    assert "chose that of the sets" in tables[1]
    assert "chosen anew for each" in tables[0]
    assert "At a hospital that sent nothing" in render_exchange(study())
    for table, source in ((tables[0], "own_and_unseen"), (tables[1], "others_sets")):
        unseen = [one for one in study().matrix.differences if one.plus == source]
        assert table.count("<tr>") == 1 + len(unseen)
        for one in unseen:
            if one.macro_auc.value is not None:
                assert difference(one.macro_auc.value) in table
    assert "Own originals and the sets of the others but one, north_clinic, without south" in shown


def test_the_page_shows_every_figure_and_runs_nothing() -> None:
    page = render_exchange(study())
    assert "<b>west" not in page
    assert "<script" not in page
    assert not re.search(r"\bnan\b|None", page)
    for row in study().matrix.rows:
        for cell in (*row.cells, row.pooled):
            if cell.macro_auc.value is not None:
                assert number(cell.macro_auc.value) in page
    for sentence in statements(study())[-3:]:
        assert sentence in page
    assert page.count('role="img"') == 4


def test_the_record_is_plain_json() -> None:
    told = json.loads(json.dumps(study().as_json(), allow_nan=False))
    assert (told["schema"], told["kind"]) == (2, "medistill exchange study")
    assert [site["name"] for site in told["matrix"]["sites"]] == list(SITES)


def test_a_small_hospital_is_drawn_told_and_said_to_be_beyond_the_curve() -> None:
    page, brief = render_exchange(study()), exchange_markdown(study())
    found = study().hospital
    assert found is not None
    for point in found.curves[0].points:
        for estimate in (point.alone, point.together):
            assert number(estimate.value) in page
            assert number(estimate.value) in brief
    assert "80 patients were not taken." in page
    last = replace(found.curves[0].points[0], as_good_as=AsGoodAs(None, 31.4, None))
    beyond = replace(study(), hospital=replace(found, curves=(replace(found.curves[0], points=(last,)),)))
    assert "&gt;10 (31" in render_exchange(beyond)
    assert "A small hospital" not in render_exchange(replace(study(), hospital=None))


def test_what_was_weighed_and_audited_is_said() -> None:
    text = " ".join(statements(study()))
    assert "chosen among 1 and 3 by the site's own validation patients: 3 at north_clinic." in text
    assert "could not be chosen, because its validation patients are of one class: the weight is 3." in text
    assert (
        "is told of and not obeyed (exchange.guard = off). north_clinic: the loss is smallest with weight 3, " in text
    )
    assert "0.021 below that of own originals alone (standard error 0.030), and the guard takes 0." in text
    assert "Here it is obeyed (exchange.guard = home)." in " ".join(statements(replace(study(), guard="home")))
    seen = next(row for row in study().matrix.rows if row.guard is not None)
    for guard, words in (
        (HomeGuard(0.0, 0.0, 0.0, 0.0), "own patients do best with nothing that was sent"),
        (HomeGuard(0.0, 3.0, 0.1, None), "(standard error without bound), and the guard takes 0"),
        (HomeGuard(3.0, 3.0, None, None), "could not be learnt from, and the guard takes 3"),
    ):
        assert words in guard_words(replace(seen, guard=guard))
    found = study().hospital
    assert found is not None
    assert "3 (the guard would use nothing in 3 of 3)" in render_exchange(study())
    obeyed = replace(study(), hospital=replace(found, guard="home"))
    assert "3 (nothing used in 3 of 3)" in exchange_markdown(obeyed)
    assert "The guard for home is obeyed: it takes the least weight" in exchange_markdown(obeyed)
    assert "without attacks by trained networks no set passes the gate" in text
    assert "Distillation alone promises nothing" in text
    sites = (replace(study().sites[0], guarantee="epsilon 3 for every patient."), *study().sites[1:])
    text = " ".join(statements(replace(study(), sites=sites)))
    assert "epsilon 3 for every patient. It holds for the patients of each site by themselves" in text
    assert "promises nothing" not in text
    page = render_exchange(study())
    assert "not enough evidence" in page
    assert "Copies were looked for in pixels." in page
