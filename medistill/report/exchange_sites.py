"""Sites: the section of the exchange page on what each site gave, and what an audit says of it."""

from __future__ import annotations

from medistill.report.blocks import Heading, Prose
from medistill.report.exchange import ExchangeStudy
from medistill.report.section import Section
from medistill.report.studied_site import SetAudit, StudiedSite
from medistill.report.table import Column, Row, Table, table
from medistill.report.text import Absent, Below, Inline, Missing, Text
from medistill.report.wording import class_label, listed


def sites_section(study: ExchangeStudy) -> Section:
    """Classes, images, copies, and the gate of each set."""
    columns = (
        Column("Site"),
        Column("Classes of its set"),
        Column("Originals", "count"),
        Column("Distilled images", "count"),
        Column("Give their original away", "count"),
        Column("Copies", "count"),
        Column("Gate of the audit"),
    )
    shown = table("Sites and their sets", columns, tuple(_site_row(site) for site in study.sites))
    spaces = dict.fromkeys(space for site in study.sites if site.audit for space in site.audit.searched)
    looked = f"Copies were looked for in {listed(list(spaces))}." if spaces else "Copies were not looked for."
    return Section(
        "sites",
        "What each site gave",
        (shown, Prose(looked)),
        brief=(Heading("What each site gave"), _brief_sites(study), Prose(looked)),
    )


def _site_row(site: StudiedSite) -> Row:
    classes: Inline = Absent(site.reason) if site.reason else listed([class_label(name) for name in site.classes])
    given: Text = (classes, Below(site.note, wraps=True)) if site.note else classes
    originals = "–" if site.originals is None else site.originals
    recovered = "–" if site.recovered is None else site.recovered
    found = site.audit
    copies = "–" if found is None or found.copies is None else found.copies
    return (class_label(site.name), given, originals, site.set_images, recovered, copies, _gate(found))


def _brief_sites(study: ExchangeStudy) -> Table:
    headings = ("Site", "Classes of its set", "Originals", "Distilled images", "Copies", "Gate of the audit")

    def row(site: StudiedSite) -> Row:
        found = site.audit
        copies = "-" if found is None or found.copies is None else str(found.copies)
        classes = site.reason or listed(list(site.classes))
        originals = "-" if site.originals is None else str(site.originals)
        return (site.name, classes, originals, str(site.set_images), copies, found.verdict if found else "-")

    return table("", tuple(Column(heading) for heading in headings), tuple(map(row, study.sites)))


def _gate(found: SetAudit | None) -> Text:
    """The verdict, and what it hangs on."""
    if found is None:
        return Missing()
    why = found.reason or listed(list(found.failed or found.open))
    return (found.verdict, Below(why, wraps=True)) if why else found.verdict
