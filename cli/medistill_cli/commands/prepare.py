"""`medistill prepare`: files into a corpus in the private cache, and what became of every file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from medistill_cli import options
from medistill_cli.corpus import read_corpus
from medistill_cli.recipe_choice import choose_recipe, overrides_of, words_of
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.working import working

if TYPE_CHECKING:
    from medistill.artifacts.corpus import Corpus


def prepare(
    data: options.Data = None,
    labels: options.Labels = None,
    recipe: options.RecipeName = None,
    sites: options.Sites = None,
    classes: options.Classes = None,
    burnt_in_text: options.BurntInText = None,
    settings: options.Settings = None,
    seed: options.Seed = None,
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
      medistill prepare --data xray/ --burnt-in-text mask
      medistill prepare --data xray/ --set data.view_policy=keep --json
    """
    with working("repeat") as progress:
        chosen = choose_recipe(
            recipe,
            overrides_of(settings, seed=seed, sites=sites, classes=classes, burnt_in_text=burnt_in_text),
            data=data,
            device="cpu",
            progress=progress,
        )
        corpus = read_corpus(data, labels, chosen, progress)
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
                "text_check": None if corpus.text_check is None else asdict(corpus.text_check),
                "text_masked": corpus.text_masked,
                "notes": list(corpus.notes),
            }
        )
        return
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
            ("Burnt-in text", _text_in_words(corpus)),
            *(("Note", note) for note in corpus.notes),
        ]
    )
    print_written({"what became of each file": manifest, "corpus (private)": corpus.path})
    words = words_of(
        data, labels, recipe, settings, seed=seed, sites=sites, classes=classes, burnt_in_text=burnt_in_text
    )
    print_next([(["medistill", "distill", *words], "distil it")])


def _text_in_words(corpus: Corpus) -> str:
    if corpus.text_check is None:
        return "not looked for"
    if corpus.text_check.policy == "quarantine":
        return f"looked for; files refused for it: {corpus.refused.get('burnt-in text', 0)}"
    return f"looked for; images in which some was masked: {corpus.text_masked}"
