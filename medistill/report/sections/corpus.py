"""Corpus: what was found, what was refused, and how it was split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medistill.report.blocks import Beside, Block, Bullets, Downloads, Heading, Prose
from medistill.report.caveat import Caveat
from medistill.report.data_statements import burnt_in_text
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.summaries import CorpusSummary
from medistill.report.table import Column, Row, Table, table
from medistill.report.text import Absent
from medistill.report.view import ReportView
from medistill.report.wording import class_label, count, counted, plural_of

SPLIT_NAMES: Mapping[str, str] = {"train": "Training", "val": "Validation", "test": "Test"}


def section(view: ReportView) -> Section:
    """The corpus in counts."""
    corpus = view.report.corpus
    return Section(
        "corpus",
        "The corpus",
        tuple(_blocks(view, corpus)) if corpus is not None else (Prose(Absent(view.missing("corpus"))),),
        contents="Corpus",
        data=(
            table(
                "corpus",
                (Column("by"), Column("name"), Column("class"), Column("images", "count")),
                tuple(_rows(corpus)) if corpus is not None else (),
                caption="Images by split, by site, and files that were refused.",
            ),
        ),
    )


def _blocks(view: ReportView, corpus: CorpusSummary) -> Iterator[Block]:
    yield Prose(_lede(view, corpus))
    tables = [_by_split(view, corpus)]
    if len(corpus.counts_by_site) > 1 and view.few_classes:
        tables.append(_by_site(view, corpus))
    if corpus.refused:
        tables.append(_refused(corpus))
    yield Beside(tuple(tables))
    yield Downloads(("corpus",))
    if view.report.benchmark is None and (said := burnt_in_text(view.report)):
        yield Prose(said)
    if corpus.notes:
        yield Heading("Notes on the reading")
        yield Bullets(corpus.notes)


def _lede(view: ReportView, corpus: CorpusSummary) -> str:
    files = (
        f"{counted(corpus.found, 'file')} found, {count(corpus.accepted)} accepted, "
        f"{count(corpus.found - corpus.accepted)} refused."
    )
    if view.evaluation.tested == "all images":
        but = ", but for those that were left out" if view.evaluation.left_out else ""
        return f"{files} Every one of them was tested{but}."
    source = "given with the data" if corpus.split_source == "given" else "drawn by medistill"
    return f"{files} The split is by {corpus.split_unit} and was {source}."


def _by_split(view: ReportView, corpus: CorpusSummary) -> Table:
    names = view.evaluation.class_names if view.few_classes else ()
    rows: list[Row] = [(class_label(name), *(of.get(name, 0) for of in corpus.counts.values())) for name in names]
    rows.append(("All images", *(sum(of.values()) for of in corpus.counts.values())))
    if corpus.split_unit != "image":
        units = "Studies" if corpus.split_unit == "study" else "Patients"
        rows.append((units, *(corpus.patients.get(split, 0) for split in corpus.counts)))
    columns = (Column("Class"), *(Column(SPLIT_NAMES.get(split, split), "count") for split in corpus.counts))
    return table("Images in each split", columns, rows, caption="Images in each split.")


def _by_site(view: ReportView, corpus: CorpusSummary) -> Table:
    by_site = corpus.counts_by_site
    return table(
        "Images of each site",
        (Column("Class"), *(Column(class_label(site), "count") for site in by_site)),
        tuple(
            (class_label(name), *(of.get(name, 0) for of in by_site.values())) for name in view.evaluation.class_names
        ),
        caption="Images of each site.",
    )


def _refused(corpus: CorpusSummary) -> Table:
    columns = (Column("Reason"), Column("Files", "count"))
    return table("Refused files", columns, tuple(corpus.refused.items()), caption="Files that were refused.")


def _rows(corpus: CorpusSummary) -> Iterator[Row]:
    for split, of_split in corpus.counts.items():
        yield from (("split", split, name, images) for name, images in of_split.items())
    for site, of_site in corpus.counts_by_site.items():
        yield from (("site", site, name, images) for name, images in of_site.items())
    yield from (("refused", category, "", files) for category, files in corpus.refused.items())


def split_unit(report: Report) -> Iterator[Caveat]:
    """Whether one person may be on both sides of the split, or be counted more than once."""
    unit = report.split_unit
    if unit not in ("study", "image"):
        return
    of_files = f"The patient is not known of every file{', only the study' if unit == 'study' else ''}."
    if report.evaluation.tested == "all images":
        yield Caveat(
            "Intervals may be too narrow",
            f"{of_files} Where one person has several {plural_of(unit)}, they are counted as if each was of another.",
        )
    elif report.benchmark is not None:
        yield Caveat(
            "Split by image",
            "The split is the benchmark's own. Where images belong together, as those of one person, they may be on "
            "both sides.",
        )
    else:
        yield Caveat(
            f"Split by {unit}, not by patient",
            f"{of_files} The same person may be in training and in test, so the figures may be too good.",
        )


def nothing_about_patients(report: Report) -> Iterator[Caveat]:
    """What figures on drawn images say."""
    if report.synthetic:
        yield Caveat(
            "Nothing about patients",
            "The source images are drawn. The figures show how the tool works, not how it does on radiographs.",
        )


def text_not_looked_for(report: Report) -> Iterator[Caveat]:
    """Whether the set may hold letters of its originals."""
    corpus, tested = report.corpus, report.evaluation.tested
    if report.shows_people and corpus is not None and not corpus.text_by and tested != "all images":
        yield Caveat(
            "Burnt-in text was not looked for",
            "Names or numbers may be drawn into the pixels of the originals. Nothing looked for them, and the "
            "distilled images may have kept parts of them.",
        )


def telling_counts(report: Report) -> Iterator[Caveat]:
    """What the report itself says of few."""
    if report.shows_people:
        yield Caveat(
            "Counts can be telling",
            f"The report describes {'patients' if report.split_unit == 'patient' else 'people'} as groups. Counts of "
            "images, as of a class at a site, are shown however small they are and may point at somebody. Read them "
            "before passing this report on.",
        )
