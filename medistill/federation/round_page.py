"""Round page: an exchange over an engine, as HTML and as Markdown."""

from __future__ import annotations

from medistill.federation.figures import HomeRow, LearntFrom
from medistill.federation.record import FederatedRound, SiteOutcome, headline, statements
from medistill.report.blocks import Bullets, Heading, Prose
from medistill.report.page import Masthead, Page
from medistill.report.render.html import html_page
from medistill.report.render.markdown import markdown_page
from medistill.report.section import Section
from medistill.report.table import Column, Row, Table, table
from medistill.report.wording import class_label, counted, level

SOURCE_NAMES: dict[LearntFrom, str] = {
    "exchange": "The exchange",
    "own_originals": "Own originals",
    "own_set": "Own distilled set",
}


def round_html(found: FederatedRound) -> str:
    """Render it as a page."""
    return html_page(round_page(found))


def round_markdown(found: FederatedRound) -> str:
    """Render it in brief."""
    return markdown_page(round_page(found))


def round_page(found: FederatedRound) -> Page:
    """The sites, the figures, what must be read with them, the making."""
    title = "An exchange of distilled sets"
    said = statements(found)
    return Page(
        title=f"{title} · medistill",
        header=Masthead(
            "medistill federated exchange",
            f"{counted(len(found.sites), 'site')} that exchange distilled sets",
            headline(found),
        ),
        sections=(
            Section("read", "Read this with the figures", (Bullets(said),)),
            _section("figures", "What it is worth at home", _figures(found)),
            _section("sites", "The sites", _sites(found)),
            Section("making", "How it was made", (_making(found),)),
            Section("statements", "", brief=(Heading("Read with the figures"), Bullets(said))),
        ),
        footer="Written by medistill",
        record="exchange.json",
        brief_title=title,
        brief=(Prose(headline(found)),),
    )


def _section(anchor: str, title: str, shown: Table) -> Section:
    return Section(anchor, title, (shown,), brief=(Heading(title), shown))


def _figures(found: FederatedRound) -> Table:
    confidences = {site.figures.confidence for site in found.sites if site.figures is not None}
    interval = f", {level(max(confidences))}" if confidences else ""
    rows = [_row(site, row) for site in found.sites if site.figures is not None for row in site.figures.rows]
    return table(
        f"Figures at each site, on its own test patients{interval}",
        (Column("Site"), Column("Learnt from"), Column("Macro AUC", "estimate"), Column("Accuracy", "estimate")),
        tuple(rows),
    )


def _row(site: SiteOutcome, row: HomeRow) -> Row:
    return (site.name, SOURCE_NAMES[row.learnt_from], row.macro_auc.estimate, row.accuracy.estimate)


def _sites(found: FederatedRound) -> Table:
    classes = tuple(Column(f"{class_label(name)}, test patients") for name in found.classes)
    rows = tuple(
        (
            site.name,
            str(site.images) if site.images else f"none: {site.reason or 'no answer'}",
            site.audit or "-",
            site.signer or "-",
            *(_patients(site, n) for n in range(len(found.classes))),
        )
        for site in found.sites
    )
    return table(
        "What each site gave", (Column("Site"), Column("Images"), Column("Audit"), Column("Signed by"), *classes), rows
    )


def _patients(site: SiteOutcome, number: int) -> str:
    """Test patients of a class, as far as they are told."""
    if site.figures is None:
        return "-"
    return "hidden" if site.figures.hidden else str(site.figures.class_patients[number])


def _making(found: FederatedRound) -> Table:
    rows = (
        ("Recipe", found.recipe),
        ("Its text, SHA-256", found.recipe_sha256),
        ("Network", found.network),
        ("Images that it learnt from", str(found.images)),
        *found.versions.items(),
    )
    return table("Recipe and versions", (Column(""), Column("")), rows)
