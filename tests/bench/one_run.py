"""What a set that is made once more says of epsilon, beside what it promises.

    python -m tests.bench.one_run --data FOLDER --labels TABLE [--recipe NAME] [--sites SITE] [--set SETTING=VALUE ...]
        [--epsilons 1 3 100] [--canaries 100 700] [--seeds 0 1] [--attacks NAME ...]

A set is made, and then once more for each number of canaries, as an audit does with ``audit.one_run_canaries``; nothing
else of the audit is made. A row is a source: what was made once more; as many random originals (a control that leaks);
all originals (another). Each has the best way to guess, its right guesses, and the lower bound with which the making is
refuted to be private. ``--attacks`` names attacks that are made on the first set too, as any audit makes them, whose
areas are told. ``--epsilons`` takes a recipe with a budget, and leaves it as it is where none is named. Neither
set is a release: both are made as shadows are, and entered in no ledger. Seconds are the processor's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.networks.registry import network_spec
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.one_run import OneRunAttack
from medistill.privacy.membership import OneRun
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.signals import AuditSignals
from medistill.training.device import choose_device
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts
from medistill.workflow.prepare import prepare


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def bounded(corpus: Corpus, recipe: Recipe, canaries: list[int], attacks: list[str], folder: Path) -> None:
    """Make a set, make some attacks on it, and bound epsilon with each number of canaries."""
    started = time.process_time()
    experts = followed_experts(corpus, recipe, use="shadow", device="cpu")
    made = distill(corpus, experts, recipe, out=folder / "set", device="cpu", use="shadow")
    say(f"  the set took {time.process_time() - started:.0f} s")
    for count in canaries:
        started = time.process_time()
        asked = override_recipe(recipe, [f"audit.one_run_canaries={count}"], "bench")
        out = private_folder(folder / f"audit-{count}")
        spec, device = network_spec(corpus, asked), choose_device("cpu")
        context = AuditContext(corpus, asked, spec, device, out, Silent(), made, None, built_in=False)
        signals = AuditSignals(context)
        for attack in (one for one in all_attacks() if one.name in attacks and count == canaries[0]):
            for told in attack.run(signals).membership:
                say(f"    {attack.name}, {told.source}: {told.cells[0].auc if told.cells else told.reason}")
        found = OneRunAttack().run(signals).one_run
        if found is not None:
            tell(found, time.process_time() - started)


def tell(found: OneRun, seconds: float) -> None:
    """A row a source."""
    stated = found.stated_reason if found.stated_epsilon is None else f"states at most {found.stated_epsilon:.4g}"
    say(f"  {found.canaries} canaries, {found.inside} of them in, delta {found.delta:g}, {seconds:.0f} s; {stated}")
    if found.reason:
        say(f"    cannot be made: {found.reason}")
    for one in found.bounds:
        name = f"{one.attack}{', beside the set' if one.beside else ''}"
        say(
            f"    {one.source:9}  epsilon at least {one.epsilon:.2f}: {one.right} of {one.guesses} right "
            f"({name}; {one.rule}; best of {one.tests})"
        )


def main() -> None:
    """Read the arguments and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--recipe", default="covid-xray-private")
    parser.add_argument("--sites", nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--epsilons", nargs="*", type=float, default=[])
    parser.add_argument("--canaries", nargs="+", type=int, default=[100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--attacks", nargs="*", default=[])
    told = parser.parse_args()
    sites = [f"data.sites={list(told.sites)}".replace("'", '"')] if told.sites else []
    recipe = load_recipe(told.recipe, [*sites, *told.settings])
    corpus = prepare(told.data, recipe, labels=told.labels)
    say(f"{len(corpus.rows('train'))} training images, {corpus.split_unit}s told apart; {recipe.method.name}")
    for epsilon in told.epsilons or [None]:
        for seed in told.seeds:
            budget = [] if epsilon is None else [f"privacy.epsilon={epsilon:g}"]
            say(f"seed {seed}{''.join(f', {one}' for one in budget)}")
            with tempfile.TemporaryDirectory() as scratch:
                asked = override_recipe(recipe, [f"seed={seed}", *budget], "bench")
                bounded(corpus, asked, told.canaries, told.attacks, Path(scratch))


if __name__ == "__main__":
    main()
