"""Answer: what a study of exchange tells a hospital first, a row each: its gain, and whether its set may go."""

from __future__ import annotations

from medistill.evaluate.intervals import Estimate
from medistill.report.blocks import Prose
from medistill.report.estimates import with_interval
from medistill.report.exchange import ExchangeStudy
from medistill.report.exchange_hospital import hospital_headline
from medistill.report.exchange_invented import invented_sentence
from medistill.report.page import Callout
from medistill.report.section import Section
from medistill.report.studied_site import StudiedSite
from medistill.report.table import Column, Row, Table, table
from medistill.report.text import Absent, Text, Value
from medistill.report.wording import class_label, level, listed

TITLE = "What each hospital would gain, and whether its set may be sent"
PHANTOMS = "The images are of invented patients: the figures show that the program works, and nothing else."


def opening(study: ExchangeStudy) -> str:
    """What the page says first: that patients or hospitals are invented, where they are, and what the table tells."""
    told = (
        "The table tells what the sets of the others add to the macro AUC of a hospital's own originals, with its "
        f"{level(study.confidence)}: an interval on both sides of 0 shows neither gain nor loss."
    )
    return " ".join(filter(None, (PHANTOMS if study.synthetic else "", invented_sentence(study.invented), told)))


def sets_callout(study: ExchangeStudy) -> Callout:
    """Which sets passed their audit, and what it means that one did not."""
    by: dict[str, list[str]] = {}
    for site in study.sites:
        by.setdefault(standing(site), []).append(site.name)
    if set(by) == {"pass"}:
        word = "Every set that was made here passes its audit."
        left = "Sending one is still its hospital's decision: an audit measures, and promises nothing."
        return Callout("pass", word, left)
    if not set(by) - {"no set"}:
        return Callout("not-shown", "No set was made here.", "There is nothing that could be sent.")
    meant = {
        "fail": "Audit failed, should not be sent: {}.",
        "not enough evidence": "Audit had not enough evidence, should not be sent before a whole one (“medistill "
        "audit”) passes it: {}.",
        "not audited": "Not audited, should not be sent before “medistill audit” passes it: {}.",
        "pass": "Audit passed: {}.",
        "no set": "No set was made: {}.",
    }
    said = [text.format(listed(by[state])) for state, text in meant.items() if state in by]
    held = [site.name for site in study.sites if standing(site) not in ("pass", "no set")]
    word = "No set should be sent as it is." if "pass" not in by else f"Not to be sent as it is: {listed(held)}."
    if not held:
        word = "Every set that was made here passes its audit."
    return Callout("fail" if "fail" in by else "not-shown" if held else "pass", word, " ".join(said))


def standing(site: StudiedSite) -> str:
    """What an audit says of a site's set: a verdict, "not audited" or "no set"."""
    if site.reason:
        return "no set"
    return "not audited" if site.audit is None else site.audit.verdict


def gain(study: ExchangeStudy, of: str, at: str) -> Estimate | None:
    """What the others' sets add to the macro AUC of a site's originals there, or at "" over all sites; None where
    nothing is known."""
    for one in study.matrix.differences:
        if (one.plus, one.minus, one.of, one.site) == ("own_and_others", "own_raw", of, at):
            return one.macro_auc if one.macro_auc.value is not None else None
    return None


def answer_section(study: ExchangeStudy) -> Section:
    """The table, and what is told of a small hospital."""
    after = (Prose(hospital_headline(study.hospital)),) if study.hospital else ()
    return Section("answer", TITLE, (_table(study), *after), brief=(_brief(study), *after))


def answer_lines(study: ExchangeStudy) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of plain text, for a terminal."""
    headings = ("Hospital", "Its set", "Gain at home", "Gain over all", "Test patients")
    rows = []
    for site in study.sites:
        told = [_plain(gain(study, site.name, at)) for at in (site.name, "")]
        rows.append((site.name, standing(site), *told, _patients(study, site.name)))
    return headings, rows


def _table(study: ExchangeStudy) -> Table:
    def cell(found: Estimate | None) -> Text:
        return Absent("not available") if found is None else Value("difference", found)

    rows: tuple[Row, ...] = tuple(
        (
            class_label(site.name),
            standing(site),
            cell(gain(study, site.name, site.name)),
            cell(gain(study, site.name, "")),
            _patients(study, site.name),
        )
        for site in study.sites
    )
    return table("Gain in macro AUC", _columns(), rows, style="gate")


def _brief(study: ExchangeStudy) -> Table:
    return table("", _columns(), tuple(answer_lines(study)[1]))


def _columns() -> tuple[Column, ...]:
    return (
        Column("Hospital"),
        Column("Audit of its set"),
        Column("Gain at home"),
        Column("Gain over all sites"),
        Column("Own test patients"),
    )


def _patients(study: ExchangeStudy, name: str) -> str:
    found = next((site for site in study.matrix.sites if site.name == name), None)
    return "not told" if found is None or found.patients is None else str(found.patients)


def _plain(found: Estimate | None) -> str:
    return "not available" if found is None else with_interval(found, "difference")
