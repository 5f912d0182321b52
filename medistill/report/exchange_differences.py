"""Differences of a study in which sites exchange sets: as a table, and at a hospital that sent nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medistill.evaluate.site_matrix import OF_ONE_SITE, MatrixDifference
from medistill.report.blocks import Heading, Prose
from medistill.report.exchange import SOURCE_NAMES, ExchangeStudy
from medistill.report.section import Section
from medistill.report.table import Column, Row, Table, table
from medistill.report.wording import class_label, count, level


def unseen_section(study: ExchangeStudy) -> Section:
    """What the exchange is worth at a hospital that sent nothing: to itself, and to a network that comes there."""
    title = "At a hospital that sent nothing"
    parts = [part for part in (_coming(study), _without_originals(study)) if part is not None]
    if not parts:
        return Section("unseen", title)
    body = tuple(block for lede, whole, _ in parts for block in (lede, whole))
    brief = tuple(block for lede, _, short in parts for block in (lede, short))
    return Section("unseen", title, body, brief=(Heading(title), *brief))


def _coming(study: ExchangeStudy) -> tuple[Prose, Table, Table] | None:
    """Own originals beside the sets of all but the site where they are tested."""
    shown = sorted(
        (of for of in study.matrix.differences if of.plus == "own_and_unseen"),
        key=lambda of: [site.name for site in study.matrix.sites].index(of.site),
    )
    if not shown:
        return None
    lede = (
        "Each site in turn is taken to have sent nothing: networks that learnt at another site from its originals and "
        "the sets of the rest are tested there, minus networks that learnt from the same originals alone, or beside "
        f"the set of the tested site too, on the same patients in each of {count(study.replicates)} draws. The weight "
        "of what was sent was chosen anew for each, by the patients of the site whose originals they are."
    )
    name = "Own originals and the sets of the others, where nothing was sent"
    return Prose(lede), *_both(name, study, shown)


def _without_originals(study: ExchangeStudy) -> tuple[Prose, Table, Table] | None:
    """The sets of the others alone, as a hospital without images to learn from has them."""
    shown = [of for of in study.matrix.differences if of.plus == "others_sets"]
    if not shown:
        return None
    lede = (
        "Each site in turn is left out: networks that learnt from the sets of the other sites alone are tested there, "
        "minus networks that learnt from the originals of one site, on the same patients in each of "
        f"{count(study.replicates)} draws. No image of the site was learnt from, except where its own originals are "
        "the other side. Where a probe's penalty was chosen, the site's validation patients chose that of the sets."
    )
    return Prose(lede), *_both("Sets of the others where nothing was sent", study, shown)


def _both(name: str, study: ExchangeStudy, shown: Sequence[MatrixDifference]) -> tuple[Table, Table]:
    return differences_table(name, study, shown, brief=False), differences_table("", study, shown, brief=True)


def differences_table(name: str, study: ExchangeStudy, shown: Sequence[MatrixDifference], *, brief: bool) -> Table:
    """The differences, a row each; in brief, with their intervals in the headings."""
    confidence = level(study.confidence)
    figures = (
        (Column(f"Macro AUC ({confidence})", "difference"), Column(f"Accuracy ({confidence})", "difference"))
        if brief
        else (Column("Macro AUC", "difference"), Column("Accuracy, points", "points"))
    )
    written: Callable[[str], str] = str if brief else class_label
    owners = (Column("Originals of"),) if any(of.of for of in shown) else ()
    return table(
        name,
        (*owners, Column("Tested at"), Column("Minus"), *figures),
        tuple((*([written(of.of)] if owners else []), *_gain(of, written)) for of in shown),
    )


def _gain(of: MatrixDifference, written: Callable[[str], str]) -> Row:
    if of.plus == "others_sets":
        return (written(of.site), SOURCE_NAMES[of.minus], of.macro_auc, of.accuracy)
    there = "" if of.of or of.minus not in OF_ONE_SITE else " there"
    return (written(of.site) or "All sites", f"{SOURCE_NAMES[of.minus]}{there}", of.macro_auc, of.accuracy)
