"""`medistill prepare`: files into a corpus in the private cache, and what became of every file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.brought import named_encoder
from medistill_cli.corpus import folder_of, read_corpus
from medistill_cli.recipe_choice import choose_recipe, overrides_of, words_of
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.working import working

if TYPE_CHECKING:
    from pathlib import Path

    from medistill.artifacts.corpus import Corpus
    from medistill.progress import Progress
    from medistill.recipe import Recipe


def prepare(
    data: options.Data = None,
    labels: options.Labels = None,
    recipe: options.RecipeName = None,
    sites: options.Sites = None,
    classes: options.Classes = None,
    burnt_in_text: options.BurntInText = None,
    settings: options.Settings = None,
    encoder: options.EncoderName = None,
    seed: options.Seed = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Write a page into the private cache that shows what was masked, beside the originals, and what was "
            "refused. It shows patients' images and must not be shared.",
        ),
    ] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Read a folder of images, and say what was refused.

    The images go into the private cache, with a table that says of every file whether it was accepted, or why not.
    `distill` does this by itself; run it alone to look at a corpus before you spend time on it. A second run on the
    same files starts at once.

    \b
    Examples:
      medistill prepare --data xray/
      medistill prepare --data xray/ --labels table.csv --set data.image_size=64
      medistill prepare --data xray/ --set data.image_size=128 --preview
      medistill prepare --data xray/ --burnt-in-text quarantine
      medistill prepare --data xray/ --set data.view_policy=keep --json
    """
    with working("repeat") as progress:
        seen_by = named_encoder(encoder)
        chosen = choose_recipe(
            recipe,
            overrides_of(
                settings, seed=seed, sites=sites, classes=classes, burnt_in_text=burnt_in_text, encoder=seen_by
            ),
            data=data,
            device="auto",
            progress=progress,
            encoder=seen_by,
        )
        corpus = read_corpus(data, labels, chosen, progress)
        page = _preview(data, labels, corpus, chosen, progress) if preview else None
    manifest = corpus.path / "manifest.csv"
    if json:
        print_json(
            {
                "corpus": str(corpus.path),
                "content": corpus.content,
                "manifest": str(manifest),
                "shape": list(corpus.images.shape),
                "counts": corpus.counts(),
                "found": corpus.found,
                "accepted": len(corpus.labels),
                "refused": corpus.refused,
                "class_names": list(corpus.class_names),
                "site_names": list(corpus.site_names),
                "split_unit": corpus.split_unit,
                "split_source": corpus.split_source,
                "synthetic": corpus.synthetic,
                "text_check": None if corpus.text_check is None else corpus.text_check.as_json(),
                "text_masked": corpus.text_masked,
                "notes": list(corpus.notes),
                **({} if page is None else {"preview": str(page)}),
            }
        )
        return
    from medistill.workflow.prepare import text_in_words

    refused = ", ".join(f"{count} {category}" for category, count in corpus.refused.items())
    print_facts(
        [
            ("Files found", str(corpus.found)),
            ("Refused", refused or "none"),
            ("Images", f"{len(corpus.labels)}, {corpus.images.shape[2]} x {corpus.images.shape[3]} pixels"),
            ("Sites", ", ".join(corpus.site_names)),
            *(
                (f"Split {split}", ", ".join(f"{count} {name}" for name, count in counts.items()))
                for split, counts in corpus.counts().items()
            ),
            ("Splits", f"{corpus.split_source}, by {corpus.split_unit}"),
            ("Burnt-in text", text_in_words(corpus, chosen.data, "drawn" if data is None else "files")),
            *(("Note", note) for note in corpus.notes),
        ]
    )
    pages = {} if page is None else {"what was masked and refused: DO NOT SHARE": page}
    print_written({"what became of each file": manifest, "corpus (private)": corpus.path, **pages})
    words = words_of(
        data,
        labels,
        recipe,
        settings,
        seed=seed,
        sites=sites,
        classes=classes,
        burnt_in_text=burnt_in_text,
        encoder=None if seen_by is None else seen_by[:12],
    )
    look = [(["medistill", "prepare", *words, "--preview"], "see what was masked, beside the originals")]
    print_next(
        [*(look if corpus.text_masked and page is None else []), (["medistill", "distill", *words], "distil it")]
    )


def _preview(data: Path | None, labels: Path | None, corpus: Corpus, recipe: Recipe, progress: Progress) -> Path:
    from medistill.workflow.preview import preview

    return preview(folder_of(data, labels, progress), corpus, recipe, progress=progress)
