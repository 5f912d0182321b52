"""Exchange page: a study in which sites exchange sets, as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure as Drawn

from medistill.evaluate.intervals import Estimate
from medistill.evaluate.site_matrix import (
    SOURCES,
    ExchangeSource,
    MatrixRow,
    SiteCell,
    TestedSite,
)
from medistill.report.blocks import Beside, Bullets, Drawing, Figure, Heading, Legend, Prose
from medistill.report.estimates import with_interval
from medistill.report.exchange import (
    SOURCE_LOOKS,
    SOURCE_MEANING,
    SOURCE_NAMES,
    ExchangeStudy,
    row_name,
    row_site,
    statements,
)
from medistill.report.exchange_answer import answer_section, opening, sets_callout
from medistill.report.exchange_differences import differences_table, unseen_section
from medistill.report.exchange_hospital import hospital_section
from medistill.report.exchange_received import received_section
from medistill.report.exchange_sites import sites_section
from medistill.report.exchange_variants import variants_section
from medistill.report.interval_plots import PlotRow, arm_mark, plot
from medistill.report.page import Masthead, Page
from medistill.report.render.html import html_page
from medistill.report.render.markdown import markdown_page
from medistill.report.section import Section
from medistill.report.table import Cell, Column, Group, Row, Shaded, Span, Table, table
from medistill.report.text import Absent, Below, Inline, Missing, Point, Small, Text, Value
from medistill.report.wording import class_label, count, counted, counted_as, level, listed

FIGURES = (
    ("macro_auc", "Macro AUC", "Sites with two classes or more"),
    ("accuracy", "Accuracy", "The class with the highest probability is taken"),
)
"""Figure of a cell, its name, and what to know of its drawing."""


def render_exchange(study: ExchangeStudy) -> str:
    """Render the study in which sites exchange sets."""
    return html_page(exchange_page(study))


def exchange_markdown(study: ExchangeStudy) -> str:
    """The matrix, what the exchange gains, what must be said beside them."""
    return markdown_page(exchange_page(study))


def exchange_page(study: ExchangeStudy) -> Page:
    """The study: what must be read with it, its figures, its making."""
    title = "Sites that exchange distilled sets"
    sections = (
        answer_section(study),
        _read(study),
        _matrix(study),
        _figures(study),
        _beside(study),
        variants_section(study),
        unseen_section(study),
        hospital_section(study),
        _gains(study),
        sites_section(study),
        received_section(study.received),
        _making(study),
    )
    said, told = statements(study), sets_callout(study)
    return Page(
        title=f"{title} · medistill",
        header=Masthead(
            "medistill exchange study",
            _who(study),
            opening(study),
            told,
        ),
        sections=(*sections, Section("statements", "", brief=(Heading("Read with the figures"), Bullets(said)))),
        footer="Written by medistill",
        record="exchange.json",
        brief_title=title,
        brief=(Prose(opening(study)), Prose(f"{told.word} {told.text}")),
    )


def _who(study: ExchangeStudy) -> str:
    """How many sites there are, and how many sets came from elsewhere."""
    taken, kind = sum(not one.reason for one in study.received), "invented hospital" if study.invented else "site"
    if taken:
        return f"{counted(len(study.sites), kind)} and {counted(taken, 'received set')}"
    return f"{counted(len(study.sites), kind)} that exchange distilled sets"


def _read(study: ExchangeStudy) -> Section:
    return Section("read", "Read this with the figures", (Bullets(statements(study)),))


def _matrix(study: ExchangeStudy) -> Section:
    lede = (
        f"Rows are what {counted(study.networks, 'network')} ({study.network}) learnt from, columns where "
        f"{counted_as(study.split_unit)} were tested who had no part in any training. Macro AUC, the deeper the colour "
        f"the higher, with its {level(study.confidence)}; where every test image is of one class, uncoloured, the "
        "share that is put in it."
    )
    in_brief = (
        f"Macro AUC, or accuracy (in percent) where every test image has one class, with its {level(study.confidence)}."
    )
    meaning = tuple(f"{name}: {SOURCE_MEANING[source]}." for source, name in SOURCE_NAMES.items() if study.rows(source))
    return Section(
        "matrix",
        "Site by site",
        (Prose(lede), _matrix_table(study)),
        brief=(Prose(in_brief), _brief_matrix(study), Bullets(meaning)),
    )


def _matrix_table(study: ExchangeStudy) -> Table:
    sites = study.matrix.sites
    all_sites: Text = ("All sites", Below(counted(study.matrix.test_images, "image")))
    return Table(
        "Figures of every source at every site",
        (
            Column("Learnt from"),
            Column("Images", "count"),
            *(Column(_site_heading(site)) for site in sites),
            Column(all_sites),
        ),
        tuple(
            Group(
                tuple(_matrix_row(row, len(sites)) for row in study.rows(source)),
                (_mark(source), f" {SOURCE_NAMES[source]} ", Small(SOURCE_MEANING[source])),
            )
            for source in SOURCE_NAMES
            if study.rows(source)
        ),
        style="wide",
    )


def _site_heading(site: TestedSite) -> Text:
    parts: list[Inline] = [class_label(site.name)]
    if site.only_class:
        parts.append(Below(f"all {class_label(site.only_class)}"))
    if site.images is not None:
        parts.append(Below(counted(site.images, "image")))
    return tuple(parts)


def _matrix_row(row: MatrixRow, sites: int) -> Row:
    of = row_site(row, class_label(row.site), class_label(row.without)) if row.site else "all sites"
    first = (of, row.images or "–")
    if row.reason:
        return (*first, Span(sites + 1, Absent(row.reason)))
    return (*first, *map(_matrix_cell, (*row.cells, row.pooled)))


def _matrix_cell(cell: SiteCell) -> Cell:
    if cell.macro_auc.value is not None:
        return Shaded(max(2 * cell.macro_auc.value - 1, 0), Value("estimate", cell.macro_auc))
    return Value("share", cell.accuracy) if cell.accuracy.value is not None else Missing()


def _mark(source: ExchangeSource) -> Point:
    return Point(*SOURCE_LOOKS[source])


def _brief_matrix(study: ExchangeStudy) -> Table:
    headings = (*(site.name for site in study.matrix.sites), "All sites")
    return table(
        "",
        (Column("Learnt from"), Column("Images", "count"), *(Column(heading) for heading in headings)),
        tuple(
            (row_name(row), row.images or "none", *map(_brief_cell, (*row.cells, row.pooled)))
            for row in study.matrix.rows
        ),
    )


def _brief_cell(cell: SiteCell) -> Value:
    if cell.macro_auc.value is None and cell.accuracy.value is not None:
        return Value("share", cell.accuracy)
    return Value("estimate", cell.macro_auc)


def _figures(study: ExchangeStudy) -> Section:
    figures = tuple(_figure(study, *of) for of in FIGURES)
    if not any(figures):
        return Section("figures", "At each site")
    lede = (
        "“Own” is what was learnt at the site where it is tested; “other sites” are all but that one. With "
        f"{level(study.confidence)}s."
    )
    legend = Legend(tuple((_mark(source), SOURCE_NAMES[source]) for source in SOURCES))
    return Section("figures", "At each site", (Prose(lede), legend, Beside(tuple(filter(None, figures)))))


def _figure(study: ExchangeStudy, field: str, name: str, text: str) -> Figure | None:
    """A figure of every source at every site and at all together; None where none is known."""
    entries = [
        (site.name, [(source, getattr(study.row(source, site.name).cells[c], field)) for source in SOURCES])
        for c, site in enumerate(study.matrix.sites)
    ]
    pooled = [(row.source, getattr(row.pooled, field)) for row in study.matrix.rows if not row.site]
    shown = [
        (site, cells)
        for site, cells in [*entries, ("All sites", pooled)]
        if any(estimate.value is not None for _, estimate in cells)
    ]
    if not shown:
        return None
    return Figure(name, (Drawing(field.replace("_", "-"), partial(draw, shown, name), describe(shown, name)),), text)


def draw(sites: Sequence[tuple[str, Sequence[tuple[ExchangeSource, Estimate]]]], label: str) -> Drawn:
    """A row for each site with a point for each source that networks learnt from."""
    shown = []
    for site, of_site in sites:
        looks = [(source, *SOURCE_LOOKS[source], estimate) for source, estimate in of_site]
        marks = tuple(
            arm_mark(arm, estimate, filled=full, strong=source == "all_sets") for source, arm, full, estimate in looks
        )
        shown.append(PlotRow(class_label(site), marks))
    return plot(shown, label)


def describe(sites: Sequence[tuple[str, Sequence[tuple[ExchangeSource, Estimate]]]], label: str) -> str:
    """Of the plot of what networks learnt from, at each site."""
    each = "; ".join(
        f"{class_label(site)}: "
        + listed([f"{SOURCE_NAMES[source].lower()} {with_interval(of, without='')}" for source, of in of_site])
        for site, of_site in sites
    )
    return f"{label} of networks that learnt from each source. {each}."


def _gains(study: ExchangeStudy) -> Section:
    lede = (
        "Networks that learnt from the sets of all sites minus those that learnt from another source, on the same "
        f"patients in each of {count(study.replicates)} draws."
    )
    shown = [of for of in study.matrix.differences if of.plus == "all_sets"]
    return Section(
        "gains",
        "What the exchange gains",
        (Prose(lede), differences_table("Differences to the sets of all sites", study, shown, brief=False)),
        brief=(Heading("Sets of all sites, minus another source"), differences_table("", study, shown, brief=True)),
    )


def _beside(study: ExchangeStudy) -> Section:
    """What a site gains that puts the others' sets beside its own originals."""
    shown = [of for of in study.matrix.differences if of.plus == "own_and_others"]
    title = "What the others' sets add to own originals"
    if not shown:
        return Section("beside", title)
    lede = (
        "Networks that learnt from a site's own originals and the sets of the other sites minus those that learnt from "
        f"another source, on the same patients in each of {count(study.replicates)} draws."
    )
    return Section(
        "beside",
        title,
        (
            Prose(lede),
            differences_table("Differences to own originals and the sets of the others", study, shown, brief=False),
        ),
        brief=(
            Heading("Own originals and the sets of the others, minus another source"),
            differences_table("", study, shown, brief=True),
        ),
    )


def _making(study: ExchangeStudy) -> Section:
    rows = (
        ("Recipe", study.recipe),
        ("Method", study.method),
        ("Settings, SHA-256", study.recipe_digest[:12]),
        ("Corpus, SHA-256", study.corpus[:12]),
        ("Images per class in a set", str(study.ipc)),
        ("Seed", str(study.seed)),
        *study.versions.items(),
    )
    return Section("making", "How it was made", (table("Settings and versions", (Column(""), Column("")), rows),))
