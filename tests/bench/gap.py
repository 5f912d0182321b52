"""What brings a distilled set nearer to all originals, one change of the settings at a time, by cross-validation.

    python -m tests.bench.gap --data FOLDER --labels CSV --sites raddb --classes COVID,Normal --out runs.jsonl

The patients of the training and validation splits are divided into thirds. Each run distils two of them, and fresh
networks trained on its last images are scored on the third; test patients take no part. Every run is one line of JSON
in ``--out``, written when it is finished; runs that stand there already are not repeated. Seconds are of the processor;
experts that another variant trained already cost none, and the table counts them for each variant.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medistill.artifacts.corpus import LEFT_OUT, SPLITS, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.evaluate.course import Course
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.protocol import scheduled
from medistill.evaluate.schedule_choice import Candidate
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import OuterStepsRecipe, Recipe, load_recipe, override_recipe
from medistill.training.context import Context
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.distill import distill
from medistill.workflow.environment import hardware, versions
from medistill.workflow.experts import followed_experts
from medistill.workflow.prepare import prepare
from medistill.workflow.trials import FOLDS, deal_out

LONG = ("method.experts.epochs=50", "method.max_start_epoch=40", "method.start_growth=0.5")
"""Experts that go on for 50 epochs, matched along a range that grows over half of the outer steps (DATM)."""
SOFT = (*LONG, "method.labels=soft")
EASY = ("method.mask.rule=hard", "method.mask.share=0.5", "method.mask.until=0.8")
"""The hardest half of the parameters left out at first, none from four fifths on (HoP-TM)."""
STEPS = (*SOFT, "method.syn_steps=20", "method.expert_epochs=4")
"""The same with twice the student steps for twice the epochs: the recipe."""
FIXED = ("method.experts.epochs=50", "method.max_start_epoch=40", "method.syn_steps=20", "method.expert_epochs=4")
"""Without what MTT and FTD have not: a range that grows, learned labels."""
FORMER = ("method.experts.epochs=15", "method.max_start_epoch=10", "method.start_growth=0", "method.labels=hard")
VARIANTS: dict[str, tuple[str, ...]] = {
    "experts of 15 epochs, hard labels (as it was)": FORMER,
    "experts of 15 epochs, soft labels": (*FORMER, "method.labels=soft"),
    "experts of 50 epochs, range grows, hard labels": (*LONG, "method.labels=hard"),
    "experts of 50 epochs, range grows, soft labels": SOFT,
    "the same, 800 outer steps": (*SOFT, "method.iterations=800"),
    "the same, 1600 outer steps": (*SOFT, "method.iterations=1600"),
    "the same, experts of 100 epochs": (*SOFT, "method.experts.epochs=100", "method.max_start_epoch=80"),
    "the same, 20 student steps for 4 epochs": STEPS,
    "the same, 20 student steps for 2 epochs": (*SOFT, "method.syn_steps=20"),
    "the same, 40 student steps for 8 epochs": (*SOFT, "method.syn_steps=40", "method.expert_epochs=8"),
    "the same, 20 steps for 4 epochs, 800 outer steps": (
        *SOFT,
        "method.syn_steps=20",
        "method.expert_epochs=4",
        "method.iterations=800",
    ),
    "the same, 20 steps for 4 epochs, hard labels": (*LONG, "method.syn_steps=20", "method.expert_epochs=4"),
    "20 steps for 4 epochs, as datm (W = 1)": ("method.name=datm", *STEPS),
    "20 steps for 4 epochs, as mtt": ("method.name=mtt", *FIXED),
    "20 steps for 4 epochs, as ftd": ("method.name=ftd", *FIXED),
    "the same, hardest half left out at first": (*SOFT, *EASY),
    "the same, labels at rate 10": (*SOFT, "method.label_lr=10"),
    "the same, image rate 30": (*SOFT, "method.image_lr=30"),
    "the same, image rate 300": (*SOFT, "method.image_lr=300"),
    "the same, moving average .99": (*SOFT, "method.ema=0.99"),
    "the same, 2 segments a step": (*SOFT, "method.segments=2"),
    "the same, 16 experts": (*SOFT, "method.experts.count=16"),
    "DDOQ": ("method.name=ddoq",),
    "20 a class": (*SOFT, "method.ipc=20"),
    "the recipe as it is": (),
    "the recipe, each image cut into four": ("method.tiles=2",),
}
BATCH, RATE, LENGTHS = 32, 0.01, (250, 500, 1000)
"""How networks are trained on the images; the length that is best on the mean over the thirds counts."""


def without(corpus: Corpus, recipe: Recipe, third: int) -> Corpus:
    """The corpus with one third of its patients for validation, the others for training, and none for testing."""
    dealt = deal_out(corpus, recipe)
    numbers = {"train": SPLITS.index("train"), "val": SPLITS.index("val")}
    splits = np.where(dealt < 0, LEFT_OUT, np.where(dealt == third, numbers["val"], numbers["train"]))
    content = hashlib.sha256(f"{corpus.content} without {third} of {FOLDS}".encode()).hexdigest()
    return replace(corpus, splits=splits.astype(corpus.splits.dtype), content=content)


def scores(corpus: Corpus, recipe: Recipe, distilled: DistilledSet, networks: int) -> dict[str, list[float]]:
    """Macro AUC of each fresh network on the validation split, by number of updates."""
    place, found = torch.device("cpu"), dict[str, list[float]]()
    data = LabelledImages.of_set(distilled, place)
    shown = LabelledImages.of_split(corpus, "val", distilled.normalisation, place)
    ways = [scheduled(Candidate(BATCH, RATE, updates), len(data), recipe.evaluate) for updates in LENGTHS]
    context = Context(corpus, recipe, network_spec(corpus, recipe), place, corpus.path, Silent())
    for k in range(networks):
        course = Course(data, ways[-1], partial(generator, k, "gap"), context)
        for updates, way in zip(LENGTHS, ways, strict=True):
            area = macro_auc(course.predict(way, shown, lambda epoch: None), shown.labels.numpy()) or 0.0
            found.setdefault(str(updates), []).append(round(area, 4))
    return found


def one(
    corpus: Corpus, base: Recipe, name: str, changes: Sequence[str], third: int, networks: int
) -> dict[str, object]:
    """Distil a variant, the base with changes, without a third, and score it there."""
    recipe = override_recipe(base, [*changes, f"seed={third}"], name)
    assert isinstance(recipe.method, OuterStepsRecipe), "a method without outer steps has no last one"
    last = [f"method.validate_every={recipe.method.iterations}", "method.validate_networks=1"]
    recipe = override_recipe(recipe, [*last, "method.validate_epochs=1"], name)
    rest = without(corpus, base, third)
    started = time.process_time()
    experts = followed_experts(rest, recipe)
    trained = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        distilled = distill(rest, experts, recipe, out=Path(folder))
    made = time.process_time()
    return {
        "variant": name,
        "third": third,
        "scores": scores(rest, recipe, distilled, networks),
        "experts_seconds": round(trained - started, 1),
        "distil_seconds": round(made - trained, 1),
        "images": len(distilled.labels),
        "student_lr": distilled.student_lr,
    }


def show(console: Console, variants: Iterable[str], runs: list[dict]) -> None:
    """One row a variant: the best way of training by its mean over the thirds, and the difference from the first."""
    table = Table(
        "settings", "images", "updates", "macro AUC, mean", "by third", "minus the first", "experts s", "distilling s"
    )
    control: dict[int, float] = {}
    for name in variants:
        mine = sorted((run for run in runs if run["variant"] == name), key=lambda run: run["third"])
        if not mine:
            continue
        means = {way: [statistics.mean(run["scores"][way]) for run in mine] for way in mine[0]["scores"]}
        way, found = max(means.items(), key=lambda entry: statistics.mean(entry[1]))
        of_third = dict(zip((run["third"] for run in mine), found, strict=True))
        control = control or of_third
        pairs = [value - control[third] for third, value in of_third.items() if third in control]
        table.add_row(
            name,
            str(mine[0]["images"]),
            way,
            f"{statistics.mean(found):.3f}",
            " ".join(f"{value:.3f}" for value in found),
            f"{statistics.mean(pairs):+.3f}" if pairs else "",
            f"{max(run['experts_seconds'] for run in mine):.0f}",
            f"{statistics.mean(run['distil_seconds'] for run in mine):.0f}",
        )
    console.print(table)


def main(variants: Mapping[str, Sequence[str]] = VARIANTS, description: str = __doc__) -> None:
    """Run what is missing of the variants and print the table; the first of them is the control."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True)
    parser.add_argument("--labels")
    parser.add_argument("--recipe", default="covid-xray-cpu")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--thirds", type=int, nargs="+", default=[*range(FOLDS)])
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=[*variants], choices=variants, metavar="NAME")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; finished runs in it are not repeated")
    asked = parser.parse_args()
    console = Console(width=170)
    base = load_recipe(asked.recipe, asked.settings)
    corpus = prepare(asked.data, base, labels=asked.labels, progress=Silent())
    for third in asked.thirds:
        for name in asked.variants:
            runs = _read(asked.out)
            if any(run["variant"] == name and run["third"] == third for run in runs):
                continue
            run = one(corpus, base, name, variants[name], third, asked.networks)
            with asked.out.open("a") as file:
                file.write(json.dumps(run) + "\n")
            console.print(f"without third {third}, {name}: {run['scores']}")
    console.print(f"{hardware('cpu')}; " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    console.print(f"{asked.recipe} {' '.join(asked.settings)}; {len(corpus.rows('train'))} training images")
    show(console, variants, _read(asked.out))


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


if __name__ == "__main__":
    main()
