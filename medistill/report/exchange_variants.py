"""Variants: the section of the exchange page on other ways of making the sets, a column each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from medistill.evaluate.site_matrix import SiteCell
from medistill.evaluate.variant_figures import AtPlaces, VariantRow
from medistill.privacy.accounting import rounded_up
from medistill.report.blocks import Bullets, Heading, Prose
from medistill.report.estimates import with_interval
from medistill.report.exchange import ComparedVariants, ExchangeStudy, StudiedVariant
from medistill.report.kinds import Kind
from medistill.report.section import Section
from medistill.report.studied_site import StudiedSite
from medistill.report.table import Column, Group, Table, table
from medistill.report.text import Below, Text, Value
from medistill.report.wording import class_label, count, counted, level, listed

TITLE = "What each way of making the sets brings"
ALONE = "Own originals alone"
PLACES = (("at home", "home"), ("elsewhere", "elsewhere"), ("all sites", "everywhere"))
"""What a place is called, and its field."""

FEW = 2
"""Criteria of an audit that a column tells by name, where there are more."""


@dataclass(frozen=True)
class _Part:
    """Rows of the table under one title: each a label and a value for every column."""

    title: str
    rows: tuple[tuple[str, tuple[Text, ...]], ...]


def variants_section(study: ExchangeStudy) -> Section:
    """Own originals beside the sets of the others, by how these were made; nothing where one way was tried."""
    compared = study.variants
    if compared is None:
        return Section("variants", TITLE)
    lede = (
        "Networks that learnt from a site's own originals and the sets of the other sites, a column for each way of "
        "making these sets; weight and penalty were chosen anew for each by the site's own patients. “Elsewhere” is "
        f"all other sites together. Macro AUC, with its {level(study.confidence)}; where every test image is of one "
        f"class, the share that is put in it. Differences are paired: the same patients in each of "
        f"{count(study.replicates)} draws. All columns, and own originals alone, learn in one space: where one way "
        "wants a whitened space, every column is in it, and can have other figures than a study of that way by itself."
    )
    said = tuple(variants_statements(compared))
    whole = Table(TITLE, _columns(compared), tuple(_groups(compared)), style="wide")
    rows = tuple(
        (f"{label}{_beneath(part.title)}", *map(_short, values))
        for part in _parts(compared, str)
        for label, values in part.rows
    )
    return Section(
        "variants",
        TITLE,
        (Prose(lede), whole, Bullets(said)),
        brief=(Heading(TITLE), Prose(lede), table("", _columns(compared), rows), Bullets(said)),
    )


def variants_statements(compared: ComparedVariants) -> Iterator[str]:
    """What must be read beside the columns, a sentence or two each."""
    for one in compared.variants:
        if one.settings:
            yield f"{one.name}: the recipe with {listed([*one.settings])}."
        if one.reason:
            yield f"{one.name}: nothing could be exchanged, because {one.reason.rstrip('.')}."
        for site in one.sites:
            if site.reason and not one.reason:
                yield f"{one.name}: {site.name} has no set, because {site.reason.rstrip('.')}."
        if promise := next((site.guarantee for site in one.sites if site.guarantee), ""):
            yield f"{one.name}: {promise}"
    private = [one for one in compared.variants if any(site.guarantee for site in one.sites)]
    if len(private) > 1:
        yield (
            f"{counted(len(private), 'way')} are under differential privacy, each a release by itself: this study made "
            "them all of the same patients, and together they spend more than any one of them (“medistill ledger”). A "
            "hospital would send one."
        )
    yield (
        "Ways are compared on test patients: whoever takes the best column has chosen by them, and a difference "
        "between two columns is of one set a site, where another one, or other noise, could differ more."
    )


def variants_gains(compared: ComparedVariants) -> Iterator[str]:
    """What the others' sets add to own originals over all sites, in a sentence for each site that has figures."""
    for number, row in enumerate(compared.variants[0].rows):
        told = [(one.name, one.rows[number].over_own.everywhere.macro_auc) for one in compared.variants]
        known = [f"{with_interval(gain, 'difference')} by {name}" for name, gain in told if gain.value is not None]
        if known:
            yield f"To the originals of {row.site} the sets of the others add over all sites: {listed(known)}."


def _columns(compared: ComparedVariants) -> tuple[Column, ...]:
    return (Column(""), Column(ALONE), *(Column(one.name) for one in compared.variants))


def _groups(compared: ComparedVariants) -> Iterator[Group]:
    for part in _parts(compared, class_label):
        yield Group(tuple((label, *values) for label, values in part.rows), part.title)


def _parts(compared: ComparedVariants, written: Callable[[str], str]) -> Iterator[_Part]:
    """The parts of the table, sites being written so."""
    variants = compared.variants
    sites = [row.site for row in variants[0].rows]
    yield _Part(
        "The sets",
        (
            ("Method", ("–", *(one.method for one in variants))),
            ("Epsilon", ("–", *(_epsilon(one) for one in variants))),
            *(
                (f"Set of {written(name)}", ("–", *(_set(one.sites[number]) for one in variants)))
                for number, name in enumerate(sites)
            ),
            *(
                (f"Weight of a sent image at {written(name)}", ("–", *(_weight(one.rows[number]) for one in variants)))
                for number, name in enumerate(sites)
            ),
        ),
    )
    figures = [[at, *(one.rows[number].figures for one in variants)] for number, at in enumerate(compared.alone)]
    yield _Part("Macro AUC", tuple(_at_places(sites, figures, written, "estimate", "share")))
    over_own = [[None, *(one.rows[number].over_own for one in variants)] for number in range(len(sites))]
    yield _Part(f"Minus {ALONE.lower()}", tuple(_at_places(sites, over_own, written, "difference", "points")))
    over_recipe = [[None, *(one.rows[number].over_recipe for one in variants)] for number in range(len(sites))]
    yield _Part(f"Minus {variants[0].name}", tuple(_at_places(sites, over_recipe, written, "difference", "points")))


def _at_places(
    sites: Sequence[str],
    found: Sequence[Sequence[AtPlaces | None]],
    written: Callable[[str], str],
    area: Kind,
    share: Kind,
) -> Iterator[tuple[str, tuple[Text, ...]]]:
    for name, of_site in zip(sites, found, strict=True):
        for called, field in PLACES:
            cells = (None if at is None else getattr(at, field) for at in of_site)
            yield f"{written(name)}, {called}", tuple(_value(cell, area, share) for cell in cells)


def _value(cell: SiteCell | None, area: Kind, share: Kind) -> Text:
    if cell is None:
        return "–"
    if cell.macro_auc.value is None and cell.accuracy.value is not None:
        return Value(share, cell.accuracy)
    return Value(area, cell.macro_auc)


def _epsilon(one: StudiedVariant) -> str:
    if all(site.reason for site in one.sites):
        return "–"
    return "none" if one.epsilon is None else rounded_up(one.epsilon)


def _set(site: StudiedSite) -> Text:
    """How many images there are, and what the gate says of them, and why."""
    if site.reason:
        return ("none", Below(site.reason, wraps=True))
    found = site.audit
    verdict = found.verdict if found is not None else "not audited"
    why = "" if found is None else found.reason or _few(found.failed or found.open)
    told = f"{counted(site.set_images, 'image')}; {verdict}"
    return (told, Below(why, wraps=True)) if why else told


def _few(criteria: tuple[str, ...]) -> str:
    """What a column has room for of the criteria that a set does not pass; the record has them all."""
    more = len(criteria) - FEW
    return listed([*criteria[:FEW], f"{more} more"] if more > 1 else [*criteria])


def _weight(row: VariantRow) -> str:
    if row.weight is None:
        return "–"
    return f"{row.weight:g}{' (not chosen)' if row.not_chosen else ''}"


def _beneath(title: str) -> str:
    """A title of a part as the end of a label; none of what needs none."""
    return f", {title[0].lower()}{title[1:]}" if title.startswith("Minus") else ""


def _short(value: Text) -> Text:
    """What a brief table takes: the words without what stands beneath them."""
    return value[0] if isinstance(value, tuple) else value
