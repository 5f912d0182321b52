"""What the importance weights W do, one setting at a time, over several seeds on the same experts.

    python -m tests.bench.ablation --data FOLDER --labels CSV --recipe covid-xray-cpu --out runs.jsonl

Every run is one line of JSON in ``--out``, written when it is finished; runs that stand there already are not repeated,
so that it can be stopped and gone on with. The control is W = 1 (mtt) under the same settings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medistill.artifacts.corpus import SPLITS, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.protocol import held_out, small_schedule
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.training.fresh_network import TrainingSet, probabilities, train_network
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.distill import distill
from medistill.workflow.environment import hardware, versions
from medistill.workflow.experts import train_experts
from medistill.workflow.prepare import prepare

VARIANTS: dict[str, list[str]] = {
    "W = 1 (MTT)": ["method.name=mtt"],
    "tensor, descent, mean square, lr 1e-5": ["method.importance.lr=1e-5"],
    "tensor, descent, mean square, lr 1e-4": ["method.importance.lr=1e-4"],
    "tensor, descent, mean square, lr 1e-3": ["method.importance.lr=1e-3"],
    "tensor, descent, mean square, lr 1e-2": ["method.importance.lr=1e-2"],
    "tensor, descent, mean square, lr 1e-1": ["method.importance.lr=1e-1"],
    "tensor, descent, none, lr 1e-2": ["method.importance.constraint=none", "method.importance.lr=1e-2"],
    "tensor, ascent, mean square, lr 1e-2": ["method.importance.direction=ascent", "method.importance.lr=1e-2"],
    "tensor, ascent, mean square, lr 1e-1": ["method.importance.direction=ascent", "method.importance.lr=1e-1"],
    "tensor, descent, movement, lr 1e-2": ["method.importance.constraint=movement", "method.importance.lr=1e-2"],
    "tensor, ascent, movement, lr 1e-2": [
        "method.importance.constraint=movement",
        "method.importance.direction=ascent",
        "method.importance.lr=1e-2",
    ],
    "tensor, ascent, movement, lr 1e-1": [
        "method.importance.constraint=movement",
        "method.importance.direction=ascent",
        "method.importance.lr=1e-1",
    ],
    "layer, descent, mean square, lr 1e-2": ["method.importance.granularity=layer", "method.importance.lr=1e-2"],
    "layer, ascent, mean square, lr 1e-2": [
        "method.importance.granularity=layer",
        "method.importance.direction=ascent",
        "method.importance.lr=1e-2",
    ],
    "scalar, descent, mean square, lr 10": ["method.importance.granularity=scalar", "method.importance.lr=10"],
    "scalar, ascent, mean square, lr 10": [
        "method.importance.granularity=scalar",
        "method.importance.direction=ascent",
        "method.importance.lr=10",
    ],
    "scalar, ascent, mean square, lr 1000": [
        "method.importance.granularity=scalar",
        "method.importance.direction=ascent",
        "method.importance.lr=1000",
    ],
    "scalar, ascent, mean square, lr 100": [
        "method.importance.granularity=scalar",
        "method.importance.direction=ascent",
        "method.importance.lr=100",
    ],
    "tensor, descent by logarithm, mean square, lr 1e-1": ["method.importance.scale=log", "method.importance.lr=1e-1"],
    "relative error per tensor, fixed": ["method.name=mtt", "method.importance.start=relative"],
    "relative error per tensor, descent, lr 1e-2": ["method.importance.start=relative", "method.importance.lr=1e-2"],
    "unlike parameters out (PP)": ["method.name=pp"],
    "easier half out (PAD)": ["method.name=pp", "method.mask.rule=easy"],
    "hardest tenth out": ["method.name=pp", "method.mask.rule=hard", "method.mask.share=0.1"],
    "hardest half out, falling to none (HoP-TM)": [
        "method.name=pp",
        "method.mask.rule=hard",
        "method.mask.until=0.8",
    ],
}


def measure(corpus: Corpus, recipe: Recipe, distilled: DistilledSet) -> dict[str, float]:
    """Mean AUC and accuracy of fresh networks on the validation and the test split, and their spread."""
    place = torch.device("cpu")
    training = TrainingSet(
        LabelledImages.of_set(distilled, place),
        small_schedule(recipe.evaluate, lr=distilled.student_lr, epochs=recipe.evaluate.epochs),
    )
    shown = held_out(corpus, distilled.normalisation, place)
    figures: dict[str, list[float]] = {}
    for k in range(recipe.evaluate.networks):
        rng, spec = generator(recipe.seed, "evaluate", "distilled", k), network_spec(corpus, recipe)
        network, _ = train_network(training, spec, recipe, rng, place)
        for split, images in zip(SPLITS[1:], shown.values(), strict=True):
            predicted, truth = probabilities(network, images, spec, recipe, place), corpus.labels[corpus.rows(split)]
            figures.setdefault(f"{split}_auc", []).append(macro_auc(predicted, truth) or 0.0)
            figures.setdefault(f"{split}_accuracy", []).append(float(np.mean(predicted.argmax(axis=1) == truth)))
    return {name: statistics.mean(values) for name, values in figures.items()}


def one(corpus: Corpus, base: Recipe, name: str, seed: int) -> dict[str, object]:
    """Distil a variant with a seed on the experts of the base recipe's seed, and measure the set."""
    recipe = override_recipe(base, [*VARIANTS[name], f"seed={seed}"], name)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        distilled = distill(corpus, train_experts(corpus, base), recipe, out=Path(folder))
        history = json.loads((Path(folder) / "history.json").read_text())
    weights = dict(zip(history["importance_names"], (history["importance"] or [[]])[-1], strict=False))
    return {
        "variant": name,
        "seed": seed,
        **measure(corpus, recipe, distilled),
        "loss": statistics.mean(history["loss"][-20:]),
        "chosen_step": history["chosen_step"],
        "student_lr": distilled.student_lr,
        "importance": {key: round(value, 4) for key, value in weights.items()},
        "seconds": round(time.perf_counter() - started, 1),
    }


def show(console: Console, runs: list[dict], seeds: list[int]) -> None:
    """One row a variant: means over the seeds, and the paired difference from the control."""
    table = Table("W", "seeds", "validation AUC", "test AUC", "minus W = 1", "test accuracy")
    of = {(run["variant"], run["seed"]): run for run in runs}
    control = next(iter(VARIANTS))
    for name in VARIANTS:
        mine = [of[name, seed] for seed in seeds if (name, seed) in of]
        if not mine:
            continue
        pairs = [r["test_auc"] - of[control, r["seed"]]["test_auc"] for r in mine if (control, r["seed"]) in of]
        table.add_row(
            name,
            str(len(mine)),
            spread([r["val_auc"] for r in mine]),
            spread([r["test_auc"] for r in mine]),
            spread(pairs, sign="+") if pairs and name != control else "",
            spread([r["test_accuracy"] for r in mine]),
        )
    console.print(table)


def spread(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.3f}{deviation}"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--labels")
    parser.add_argument("--recipe", default="covid-xray-cpu")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS], choices=VARIANTS, metavar="NAME")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; finished runs in it are not repeated")
    asked = parser.parse_args()
    console = Console(width=150)
    base = load_recipe(asked.recipe, asked.settings)
    corpus = prepare(asked.data, base, labels=asked.labels, progress=Silent())
    runs = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.is_file() else []
    for seed in asked.seeds:
        for name in asked.variants:
            if any(run["variant"] == name and run["seed"] == seed for run in runs):
                continue
            runs.append(one(corpus, base, name, seed))
            with asked.out.open("a") as file:
                file.write(json.dumps(runs[-1]) + "\n")
            console.print(f"seed {seed}, {name}: test AUC {runs[-1]['test_auc']:.3f}, {runs[-1]['seconds']} s")
    console.print(f"{hardware('cpu')}; " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    console.print(f"{asked.recipe} {' '.join(asked.settings)}; {len(corpus.rows('train'))} training images")
    show(console, runs, asked.seeds)


if __name__ == "__main__":
    main()
