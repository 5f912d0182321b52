"""What attacks over shadows find with 2, 4, 8 and 16 shadows.

    python -m tests.bench.power [--data FOLDER --manifest FILE] [--patients 400] [--set SETTING=VALUE ...]
    python -m tests.bench.power --data FOLDER --manifest FILE --run RUN

Sixteen shadows of phantoms at 32 pixels, or of ``--data``, are made once, or taken from the audit of ``--run``. Then
they are taken in groups of 2, 4, 8 and 16, and each is asked with the rest of its group for its reference. So every
figure has the same answers behind it: all shadows, each as a target once. Networks learnt the distilled set, as many
random originals (a leaking control), or all originals (another). A row is a number of shadows: AUC with DeLong's
interval over patients, and the share of the patients found where one in 100 others is wrong, for each attack; then the
AUC less that of the likelihood ratio of the same variant, over the patients whom both score.
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
from safetensors.numpy import load_file

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.evaluate.delong import Components
from medistill.evaluate.intervals import Estimate
from medistill.networks.registry import network_spec
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.likelihood_ratio import InAndOut, OutOnly
from medistill.privacy.membership import SOURCES
from medistill.privacy.score_attack import Scores, measure
from medistill.privacy.shadow_attack import ShadowAttack
from medistill.privacy.signals import NetworkAnswers, cells_of
from medistill.privacy.trials import Trials
from medistill.progress import Silent
from medistill.recipe import UNITS, Recipe, load_recipe
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.workflow.prepare import prepare
from medistill.workflow.shadows import ShadowAnswers, ShadowPlan, ask_shadows, plan_shadows

MADE = 16
SIZES = (2, 4, 8, 16)
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
    return _by_source(corpus, plan, ask_shadows(plan, context, key="power", network=None))


def kept(corpus: Corpus, recipe: Recipe, folder: Path) -> tuple[NetworkAnswers, ...]:
    """What an audit of the recipe kept of its shadows, in ``folder``; a source each."""
    made = [load_file(path) for path in sorted(folder.glob("shadow_*.safetensors"))]
    shadows = {"shadows": len(made)}
    plan = plan_shadows(corpus, recipe.model_copy(update={"audit": recipe.audit.model_copy(update=shadows)}))
    told = ShadowAnswers(
        {source: np.stack([one[f"{source}_confidence"] for one in made]) for source in SOURCES},
        {source: np.stack([one[f"{source}_member"] > 0 for one in made]) for source in SOURCES},
        sum(float(one["seconds"].sum()) for one in made),
    )
    if not np.array_equal(told.member["distilled"], plan.held):
        raise SystemExit(f"{folder} is of other shadows than this corpus and recipe have")
    say(f"{len(made)} shadows took {told.seconds:.0f} s")
    return _by_source(corpus, plan, told)


def _by_source(corpus: Corpus, plan: ShadowPlan, told: ShadowAnswers) -> tuple[NetworkAnswers, ...]:
    rows = plan.rows[plan.ordinary]
    groups, cells = corpus.groups[rows], cells_of(corpus, rows)
    return tuple(
        NetworkAnswers(
            source, told.confidence[source][:, plan.ordinary], told.member[source][:, plan.ordinary], groups, cells
        )
        for source in SOURCES
    )


def in_groups(attack: ShadowAttack, answers: NetworkAnswers, size: int) -> Trials:
    """Every shadow as a target, with the other ``size - 1`` of its group."""
    parts = [slice(first, first + size) for first in range(0, len(answers.member), size)]
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
            beside = shown(area(trials[attack.name], both).minus(area(known, both)).estimate(0.95), "+.3f")
        lines.append("  ".join([opening, shown(cell.auc), shown(cell.detections[0].rate), beside]))
    return lines


def shown(one: Estimate, form: str = ".3f") -> str:
    """The figure and its interval, or why there is none."""
    if one.value is None or one.low is None or one.high is None:
        return one.reason if one.value is None else f"{one.value:{form}}"
    return f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"


def main(words: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="tests.bench.power")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    wanted = parser.parse_args(words)
    recipe = load_recipe("demo", [*SETTINGS, *wanted.settings])
    if wanted.run is not None:
        recipe = load_recipe(wanted.run / "recipe.toml", wanted.settings)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data = wanted.data
        if data is None:
            data = folder / "phantoms"
            write_phantom(data, patients=wanted.patients, size=64)
        corpus = prepare(data, recipe, labels=wanted.manifest)
        started = time.process_time()
        if wanted.run is None:
            answers = asked(corpus, recipe, private_folder(folder / "shadows"))
            say(f"{MADE} shadows took {time.process_time() - started:.0f} s of processor time")
        else:
            answers = kept(corpus, recipe, wanted.run / "audit" / "membership")
        say(f"{len(np.unique(answers[0].groups))} training {UNITS[corpus.split_unit]}")
        say("networks learnt, shadows, attack; AUC; found at 1 in 100; AUC less the likelihood ratio's")
        for one in answers:
            for size in (size for size in SIZES if size <= len(one.member)):
                for line in told_of(one, size):
                    say(line)


if __name__ == "__main__":
    main(sys.argv[1:])
