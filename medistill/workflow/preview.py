"""Preview: a page that shows a corpus' files as they are, with what was masked in them or why they were refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder, write_text
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import TEXT_MASKED, Corpus, ManifestRow
from medistill.data.decoding import cores
from medistill.data.second_look import SecondLook
from medistill.data.text_policy import resolve_text_policy
from medistill.data.workers import look_in_workers
from medistill.progress import Progress, Silent
from medistill.recipe import DataRecipe, Recipe
from medistill.report.preview import PreviewSection, Shown, render_preview
from medistill.workflow.prepare import origin_of, text_in_words

NAME = "DO-NOT-SHARE-patients-images.html"
MOST = 200
"""Files shown in which text was masked, and as many that were refused, so that a page of 10,000 files can be opened."""
MOST_OF_A_REASON = 40
"""Files shown that were refused for one reason."""
SOME = 24
"""Files shown in which nothing was masked: a person sees there what was overlooked."""
UNSEEN = ("decoder crashed", "too large", "not a file", "link out of the folder", "link to a folder", "missing file")
"""Reasons for which a file is not opened again."""


def preview(data: str | Path, corpus: Corpus, recipe: Recipe, *, progress: Progress = Silent()) -> Path:
    """Write the page of a corpus into the private cache, and return where it lies.

    The files that it shows are read again, so that nothing of them is kept beside the page; also where the corpus came
    out of the cache.

    Args:
        data: the folder that the corpus was read from.
        corpus: what `prepare` made of it.
        recipe: the same as there.
    """
    folder = Path(data)
    origin = origin_of(folder)
    reading = resolve_text_policy(recipe.data, origin)
    masked = [row for row in corpus.manifest if row.row >= 0 and row.category == TEXT_MASKED]
    plain = [row for row in corpus.manifest if row.row >= 0 and row.category != TEXT_MASKED]
    refused: dict[str, list[ManifestRow]] = {}
    for row in corpus.manifest:
        if row.row < 0:
            refused.setdefault(row.category, []).append(row)
    of_each = max(min(MOST_OF_A_REASON, MOST // max(len(refused), 1)), 1)
    parts = [
        ("Masked", "Look whether the boxes hold text: what is no text was painted over too.", masked, MOST),
        ("Taken as they are", "Look whether letters were overlooked.", plain, SOME),
        *((f"Refused: {name}", "", rows, of_each) for name, rows in sorted(refused.items(), key=_text_first)),
    ]
    chosen = [(title, lede, rows, _spread(rows, most)) for title, lede, rows, most in parts if rows]
    seen = _looks(folder, [row for *_, some in chosen for row in some], reading, progress)
    sections = [
        PreviewSection(
            title,
            lede,
            found=len(rows),
            beside="Masked" if rows[0].row >= 0 else "As masking would leave it",
            shown=_largest_first(Shown(row.file, row.reason, seen.get(row.file)) for row in some),
        )
        for title, lede, rows, some in chosen
    ]
    page = private_folder(private_folder(cache_root() / "previews") / corpus.content) / NAME
    text = text_in_words(corpus, recipe.data, origin)
    size = recipe.data.image_size
    html = render_preview(sections, found=corpus.found, taken=len(corpus.labels), image_size=size, text=text)
    write_text(page, html, private=True)
    return page


def _text_first(refused: tuple[str, list[ManifestRow]]) -> tuple[bool, str]:
    return refused[0] not in ("burnt-in text", "burnt-in annotation"), refused[0]


def _spread(rows: Sequence[ManifestRow], most: int) -> list[ManifestRow]:
    """All of them, or so many at even distances."""
    if len(rows) <= most:
        return list(rows)
    return [rows[n] for n in np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _looks(
    folder: Path, rows: Sequence[ManifestRow], recipe: DataRecipe, progress: Progress
) -> dict[str, SecondLook | None]:
    """File -> its pictures; None where it cannot be shown."""
    files = [row.file for row in rows if row.category not in UNSEEN]
    seen: dict[str, SecondLook | None] = {}
    with progress.task("Reading again what is shown", len(files)) as task:
        for file, look in zip(files, look_in_workers(folder, files, recipe, cores()), strict=True):
            seen[file] = look
            task.advance()
    return seen


def _largest_first(shown: Iterable[Shown]) -> tuple[Shown, ...]:
    """Those first of which most was painted over: it is there that an image is spoilt."""
    return tuple(sorted(shown, key=_painted, reverse=True))


def _painted(one: Shown) -> float:
    if one.look is None:
        return -1
    area = sum((b.bottom - b.top) * (b.right - b.left) for b, *_ in one.look.finds)
    return area / (one.look.height * one.look.width)
