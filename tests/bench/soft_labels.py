"""How far soft labels must follow wrong ones for the attack on them to see it, and what real shadows' labels do.

    python -m tests.bench.soft_labels [--runs 2000]
    python -m tests.bench.soft_labels --data FOLDER --labels FILE [--recipe covid-xray-ddoq] [--sites SITE ...]
        [--set SETTING=VALUE ...] [--out FOLDER]

Without ``--data``: scores of every canary are normal over shadows, with a shift where it is held. A row is a number of
shadows and of canaries: the shift in standard deviations that is found in 80 % of the runs at a chance of 1 in 100, by
halving; and how often no shift at all is found at 1 in 100 and at 1 in 20. With ``--data`` the shadows of a recipe are
made, and asked as an audit does: a row for the labels and one for networks on all originals, their control.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.networks.registry import network_spec
from medistill.privacy.attacks.soft_labels import label_test
from medistill.privacy.label_memory import chance_of_following
from medistill.privacy.signals import LabelAnswers
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.workflow.prepare import prepare
from medistill.workflow.shadows import ask_shadows, no_shadows, plan_shadows

SHADOWS, CANARIES = (4, 8, 16), (10, 20)
CHANCE, POWER, HALVINGS = 0.01, 0.8, 8


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def chances(shadows: int, canaries: int, shift: float, runs: int) -> np.ndarray:
    """Of so many runs (runs,), the same random numbers whatever the shift is."""
    rng, found = np.random.default_rng(shadows * 1000 + canaries), []
    for _ in range(runs):
        held, noise = rng.random((shadows, canaries)) < 0.5, rng.normal(size=(shadows, canaries))
        found.append(chance_of_following(noise + shift * held, held))
    return np.array(found, float)


def power(runs: int) -> None:
    """The shift that is seen, for each number of shadows and canaries."""
    for canaries in CANARIES:
        for shadows in SHADOWS:
            low, high = 0.0, 4.0
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                seen = np.mean(chances(shadows, canaries, middle, runs) <= CHANCE)
                low, high = (low, middle) if seen >= POWER else (middle, high)
            shifted, none = chances(shadows, canaries, high, runs), chances(shadows, canaries, 0.0, runs)
            say(
                f"{shadows:3} shadows, {canaries} canaries: a shift of {high:.2f} is seen in "
                f"{100 * np.mean(shifted <= CHANCE):.1f} % of {runs} runs; none at all in "
                f"{100 * np.mean(none <= 0.01):.1f} % at 1 in 100, {100 * np.mean(none <= 0.05):.1f} % at 1 in 20"
            )


def real(corpus: Corpus, recipe: Recipe, folder: Path) -> None:
    """What the labels of real shadows do."""
    started, plan = time.perf_counter(), plan_shadows(corpus, recipe)
    if reason := no_shadows(plan, corpus, recipe):
        raise SystemExit(f"no shadows can be made: {reason}")
    context = Context(corpus, recipe, network_spec(corpus, recipe), choose_device("cpu"), folder, Silent())
    told = ask_shadows(plan, context, key="soft labels", network=None)
    if told.labels is None:
        raise SystemExit("the shadows have no soft labels of classes, or there is no canary")
    held = plan.held[:, plan.canaries]
    say(f"{len(plan.rows)} training images, {len(held)} shadows, {len(plan.canaries)} canaries, {held.sum()} coins up")
    for source, scores in (("distilled", told.labels), ("raw", told.confidence["raw"][:, plan.canaries])):
        found = label_test(LabelAnswers(source, scores, held))  # type: ignore[arg-type]
        spread = scores.std(axis=0)
        apart = "nothing" if found.told_apart is None else f"{found.told_apart:.3f}"
        chance = "none" if found.chance is None else f"{found.chance:.2g}"
        say(f"  {source:9} told apart {apart}, chance {chance}; deviations {spread.min():.3g} to {spread.max():.3g}")
    say(f"  {time.perf_counter() - started:.0f} s")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--recipe", default="covid-xray-ddoq")
    parser.add_argument("--sites", nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--out", type=Path, help="where what shadows say is kept, so that a call goes on")
    told = parser.parse_args()
    if told.data is None:
        power(told.runs)
        return
    sites = [f"data.sites={list(told.sites)}".replace("'", '"')] if told.sites else []
    recipe = load_recipe(told.recipe, [*sites, *told.settings])
    corpus = prepare(told.data, recipe, labels=told.labels)
    with tempfile.TemporaryDirectory() as scratch:
        real(corpus, recipe, private_folder(told.out or Path(scratch) / "kept"))


if __name__ == "__main__":
    main()
