"""Differences of a study in which sites exchange sets: as a table, and at a hospital that sent nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medistill.evaluate.site_matrix import OF_ONE_SITE, MatrixDifference
from medistill.report.blocks import Heading, Prose
from medistill.report.estimates import with_interval
from medistill.report.exchange import SOURCE_NAMES, ExchangeStudy
from medistill.report.section import Section
from medistill.report.table import Column, Row, Table, table
from medistill.report.wording import class_label, count, level, listed


def unseen_section(study: ExchangeStudy) -> Section:
    """What the sets of the others are worth at a hospital that sent nothing."""
    shown = [of for of in study.matrix.differences if of.plus == "others_sets"]
    title = "At a hospital that sent nothing"
    if not shown:
        return Section("unseen", title)
    lede = (
        "Each site in turn is left out: networks that learnt from the sets of the other sites alone are tested there, "
        "minus networks that learnt from the originals of one site, on the same patients in each of "
        f"{count(study.replicates)} draws. No image of the site was learnt from, except where its own originals are "
        "the other side. Where a probe's penalty was chosen, the site's validation patients chose that of the sets."
    )
    return Section(
        "unseen",
        title,
        (Prose(lede), differences_table("Sets of the others where nothing was sent", study, shown, brief=False)),
        brief=(Heading(title), Prose(lede), differences_table("", study, shown, brief=True)),
    )


def unseen_sentences(study: ExchangeStudy) -> tuple[str, ...]:
    """For each site that is left out: by how much the sets of the others are better there than originals elsewhere."""
    found: dict[str, list[str]] = {}
    for one in study.matrix.differences:
        if one.plus == "others_sets" and one.of != one.site and one.macro_auc.value is not None:
            found.setdefault(one.site, []).append(f"{one.of} {with_interval(one.macro_auc, 'difference')}")
    return tuple(
        f"At {site}, had it sent nothing: macro AUC of the sets of the others minus that of the originals of "
        f"{listed(minus)}."
        for site, minus in found.items()
    )


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
