"""What attacks over shadows find with 2, 4, 8 and 16 shadows.

    python -m tests.bench.power [--data FOLDER --manifest FILE] [--patients 400] [--set SETTING=VALUE ...]

Sixteen shadows of phantoms at 32 pixels, or of ``--data``, are made once; then they are taken in groups of 2, 4, 8 and
16, and each is asked with the rest of its group for its reference. So every figure has the same answers behind it: all
16 shadows, each as a target once. Networks learnt the distilled set, as many random originals (a leaking control), or
all originals (another). A row is a number of shadows: AUC with DeLong's interval over patients, and the share of the
patients found where one in 100 others is wrong, for each attack; then the AUC less that of the likelihood ratio of the
same variant, over the patients whom both score.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.evaluate.delong import Components
from medistill.networks.registry import network_spec
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.likelihood_ratio import InAndOut, OutOnly
from medistill.privacy.score_attack import Scores, measure
from medistill.privacy.shadow_attack import ShadowAttack
from medistill.privacy.signals import NetworkAnswers, cells_of
from medistill.privacy.trials import Trials
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.workflow.prepare import prepare
from medistill.workflow.shadows import ask_shadows, plan_shadows

MADE = 16
GROUPS = (2, 4, 8, 16)
SETTINGS = (
    "data.image_size=32",
    "network.width=16",
    "method.experts.count=2",
    "method.experts.epochs=3",
    "method.max_start_epoch=1",
    "method.ipc=5",
    "schedule.choose=fixed",
    "evaluate.epochs=60",
    "evaluate.raw_epochs=40",
    "audit.shadow_iterations=5",
    "audit.canaries=0",
    f"audit.shadows={MADE}",
)
"""Of a demo that is cut down to what shows what attacks find, not what a set is worth."""


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def asked(corpus: Corpus, recipe: Recipe, folder: Path) -> tuple[NetworkAnswers, ...]:
    """Make the shadows, and ask them; a source each."""
    plan, spec = plan_shadows(corpus, recipe), network_spec(corpus, recipe)
    context = Context(corpus, recipe, spec, choose_device("cpu"), folder, Silent())
    told = ask_shadows(plan, context, key="power", network=None)
    groups, cells = corpus.groups[plan.rows], cells_of(corpus, plan.rows)
    return tuple(NetworkAnswers(one, told.confidence[one], told.member[one], groups, cells) for one in told.confidence)


def in_groups(attack: ShadowAttack, answers: NetworkAnswers, size: int) -> Trials:
    """Every shadow as a target, with the other ``size - 1`` of its group."""
    parts = [slice(first, first + size) for first in range(0, MADE, size)]
    scores = [
        attack.scores_of(replace(answers, confidence=answers.confidence[part]), answers.member[part]) for part in parts
    ]
    return Trials(np.concatenate(scores), answers.member, answers.groups)


def area(trials: Trials, taken: np.ndarray) -> Components:
    """Of the answers (K, N) that are taken."""
    return Components.of(*Trials(np.where(taken, trials.scores, np.nan), trials.member, trials.groups).by_patient())


def told_of(answers: NetworkAnswers, size: int) -> list[str]:
    """A line an attack."""
    attacks = [attack for attack in all_attacks() if isinstance(attack, ShadowAttack)]
    trials = {attack.name: in_groups(attack, answers, size) for attack in attacks}
    known_by = {attack.variant: trials[attack.name] for attack in attacks if isinstance(attack, InAndOut | OutOnly)}
    lines = []
    for attack in attacks:
        found = measure(attack.name, Scores(answers.source, trials[attack.name], {}), 0.95, 10)
        opening = f"{answers.source:9s} {size:2d}  {attack.name:38s}"
        scored = np.isfinite(trials[attack.name].scores)
        if not scored.any() or not found.cells:
            lines.append(f"{opening} no score")
            continue
        cell, known = found.cells[0], known_by[attack.variant]
        both = scored & np.isfinite(known.scores)
        beside = "not to be had"
        if both.any():
            less = area(trials[attack.name], both).minus(area(known, both)).estimate(0.95)
            beside = less.reason if less.value is None or less.low is None else f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f})"
        share = cell.detections[0].rate
        lines.append(
            f"{opening} {cell.auc.value:.3f} ({cell.auc.low or 0:.3f} to {cell.auc.high or 0:.3f})  "
            f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})  {beside}"
            if share.value is not None
            else f"{opening} {cell.auc.value:.3f}  {share.reason}"
        )
    return lines


def main(words: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="tests.bench.power")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    wanted = parser.parse_args(words)
    recipe = load_recipe("demo", [*SETTINGS, *wanted.settings])
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data = wanted.data
        if data is None:
            data = folder / "phantoms"
            write_phantom(data, patients=wanted.patients, size=64)
        corpus = prepare(data, recipe, labels=wanted.manifest)
        started = time.process_time()
        answers = asked(corpus, recipe, private_folder(folder / "shadows"))
        spent = time.process_time() - started
        patients = len(np.unique(corpus.groups[corpus.rows("train")]))
        say(f"{patients} training patients; {MADE} shadows took {spent:.0f} s of processor time")
        say("networks learnt, shadows, attack; AUC; found at 1 in 100; AUC less the likelihood ratio's")
        for one in answers:
            for size in GROUPS:
                for line in told_of(one, size):
                    say(line)


if __name__ == "__main__":
    main(sys.argv[1:])
